"""Batches, retries and siblings, in memory and on disk alike."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Sequence

import pytest
from buffer_trials import (
    Options,
    Track,
    Until,
    down,
    figures,
    router,
)

from eventtracking import Event, Rejected, Tracker
from eventtracking.errors import ConfigError
from eventtracking_buffer.delivery.backoff import backoff_s
from eventtracking_testkit.fakes import FailingBackend, RecordingBackend

pytestmark = pytest.mark.needs("regex_filter")


def wait_for(release: threading.Event) -> None:
    release.wait(60.0)


def test_what_is_emitted_arrives_in_batches(storage: Options, track: Track) -> None:
    """Everything arrives, in order, in far fewer deliveries than events, and the counts say so."""
    batches: list[int] = []
    FailingBackend.actions[""] = lambda events: batches.append(len(events))
    tracker = track({**storage, "max_batch_age_s": 0.2}, ok={"plugin": "rec"}, n={"plugin": "fail"})
    for number in range(1_000):
        tracker.emit("x", {"number": number})
    assert tracker.flush(20.0)
    assert [event.data["number"] for event in RecordingBackend.recorded[""]] == list(range(1_000))
    assert sum(batches) == 1_000
    assert len(batches) < 100
    for path in ("b", "b/ok", "b/n"):
        assert figures(tracker, path) == {"received": 1_000, "delivered": 1_000}


def test_a_batch_is_sent_when_it_is_full(storage: Options, track: Track, until: Until) -> None:
    """Its count, or its bytes, end the wait for more events; nobody has to flush."""
    sizes: list[int] = []
    FailingBackend.actions[""] = lambda events: sizes.append(len(events))
    tracker = track(
        {**storage, "max_batch_age_s": 60.0, "max_batch_events": 10}, n={"plugin": "fail"}
    )
    for _ in range(20):
        tracker.emit("x", {"text": "a" * 100})
    until(lambda: sum(sizes) >= 10)
    assert max(sizes) == 10


def test_a_batch_is_bounded_in_bytes(storage: Options, track: Track) -> None:
    """Large events travel in smaller batches; one that is larger than a batch travels alone."""
    sizes: list[int] = []
    FailingBackend.actions[""] = lambda events: sizes.append(len(events))
    tracker = track({**storage, "max_batch_bytes": 10_000}, n={"plugin": "fail"})
    for length in [3_000] * 9 + [50_000]:
        tracker.emit("x", {"text": "a" * length})
    assert tracker.flush(20.0)
    assert sum(sizes) == 10
    assert max(sizes) <= 3


def test_a_failing_child_does_not_hold_up_its_sibling(
    storage: Options, track: Track, until: Until
) -> None:
    """The sibling has everything while the other is down; the other has everything, once, when it
    is back.
    """
    FailingBackend.actions[""] = down
    tracker = track(storage, ok={"plugin": "rec"}, bad={"plugin": "fail"})
    for _ in range(300):
        tracker.emit("x")
    until(lambda: figures(tracker, "b/ok") == {"received": 300, "delivered": 300})
    assert figures(tracker, "b") == {"received": 300, "pending": 300}
    seen: list[str] = []
    FailingBackend.actions[""] = lambda events: seen.extend(event.id for event in events)
    assert tracker.flush(20.0)
    assert sorted(seen) == sorted(event.id for event in RecordingBackend.recorded[""])
    assert figures(tracker, "b/bad") == {"received": 300, "delivered": 300}
    assert figures(tracker, "b") == {"received": 300, "delivered": 300}


def test_a_hanging_child_does_not_delay_its_sibling(
    storage: Options, track: Track, until: Until
) -> None:
    """While one child hangs, its sibling goes on as if nothing were."""
    release = threading.Event()
    FailingBackend.actions[""] = lambda events: wait_for(release)
    tracker = track(storage, hangs={"plugin": "fail"}, ok={"plugin": "rec"})
    try:
        for number in range(5):
            tracker.emit("x")
            until(
                lambda number=number: len(RecordingBackend.recorded.get("", [])) == number + 1, 5.0
            )
        assert FailingBackend.attempts[""] == 1
    finally:
        release.set()
    assert tracker.flush(20.0)


def test_siblings_in_a_group_are_apart_too(storage: Options, track: Track, until: Until) -> None:
    """Leaves below a group have lanes of their own, and the group counts each event once."""
    FailingBackend.actions[""] = down
    group = {"backends": {"bad": {"plugin": "fail"}, "ok": {"plugin": "rec"}}}
    tracker = track(storage, g=group)
    for _ in range(20):
        tracker.emit("x")
    until(lambda: figures(tracker, "b/g/ok") == {"received": 20, "delivered": 20})
    until(lambda: figures(tracker, "b/g") == {"received": 20, "pending": 20})
    FailingBackend.actions[""] = lambda events: None
    assert tracker.flush(20.0)
    assert figures(tracker, "b/g") == {"received": 20, "delivered": 20}


def test_a_child_that_keeps_failing_is_probed(storage: Options, track: Track) -> None:
    """After the first failure it gets a few events at a time, ever more rarely, and not the whole
    batch again.
    """
    sizes: list[int] = []

    def refuse(events: Sequence[Event]) -> None:
        sizes.append(len(events))
        raise ConnectionError

    FailingBackend.actions[""] = refuse
    tracker = track({**storage, "retry_base_s": 0.1, "retry_max_s": 5.0}, bad={"plugin": "fail"})
    for _ in range(500):
        tracker.emit("x")
    time.sleep(2.0)
    assert 2 <= len(sizes) < 50
    assert max(sizes[1:]) <= 10
    FailingBackend.actions[""] = lambda events: None
    assert tracker.flush(20.0)


def test_backoff_grows_and_is_jittered() -> None:
    """The longest delay doubles up to its limit, and the delays are spread from zero up."""
    drawn = [backoff_s(4, 0.5, 30.0) for _ in range(500)]
    assert max(drawn) <= 4.0
    assert max(drawn) > 3.0
    assert min(drawn) < 1.0
    assert max(backoff_s(10_000, 0.5, 30.0) for _ in range(500)) <= 30.0


def test_an_event_that_comes_twice_is_delivered_twice_and_counted(
    storage: Options, track: Track
) -> None:
    """Two events of one id do not get in each other's way; the destination tells them by the id."""
    tracker = track(storage, ok={"plugin": "rec"}, other={"plugin": "rec", "key": "other"})
    event = Event(name="x")
    for _ in range(3):
        tracker.submit(event)
    assert tracker.flush(20.0)
    assert [found.id for found in RecordingBackend.recorded[""]] == [event.id] * 3
    assert figures(tracker, "b") == {"received": 3, "delivered": 3}


def test_processors_below_a_buffer(storage: Options, track: Track) -> None:
    """What the processors of a leaf and of a group filter is filtered there, and nowhere received
    below.
    """
    no = [{"plugin": "regex_filter", "filter_type": "blocklist", "regular_expressions": ["^no"]}]
    group = {
        "processors": no,
        "backends": {"p": {"plugin": "rec", "key": "p"}, "q": {"plugin": "rec", "key": "q"}},
    }
    tracker = track(storage, leaf={"plugin": "rec", "processors": no}, g=group)
    tracker.emit("yes")
    tracker.emit("no")
    assert tracker.flush(20.0)
    assert figures(tracker, "b") == {"received": 2, "delivered": 1, "filtered": 1}
    assert figures(tracker, "b/leaf") == {"received": 2, "delivered": 1, "filtered": 1}
    assert figures(tracker, "b/g") == {"received": 2, "delivered": 1, "filtered": 1}
    assert figures(tracker, "b/g/p") == figures(tracker, "b/g/q") == {"received": 1, "delivered": 1}


def test_a_buffer_below_a_buffer(storage: Options, track: Track) -> None:
    """A nested buffer takes over, and each counts its own."""
    inner = {"plugin": "buffer", "max_batch_age_s": 0.01, "backends": {"ok": {"plugin": "rec"}}}
    tracker = track(storage, inner=inner)
    for _ in range(100):
        tracker.emit("x")
    assert tracker.flush(20.0)
    for path in ("b", "b/inner", "b/inner/ok"):
        assert figures(tracker, path) == {"received": 100, "delivered": 100}


def test_the_law_holds_at_any_moment(storage: Options, track: Track) -> None:
    """Read while threads emit, children fail at random, and events die, the counts always
    add up.
    """
    turn = iter(range(1 << 30))

    def sometimes(events: Sequence[Event]) -> None:
        number = next(turn)
        if number % 3 == 0:
            raise ConnectionError
        if number % 5 == 0:
            raise Rejected({events[0].id: "no"})

    FailingBackend.actions[""] = sometimes
    group = {"backends": {"bad": {"plugin": "fail"}, "ok": {"plugin": "rec"}}}
    tracker = track(
        {**storage, "max_batch_events": 20, "max_attempts": 4, "retry_max_s": 0.02}, g=group
    )

    def emit() -> None:
        for _ in range(500):
            tracker.emit("x")
            time.sleep(0.0005)

    threads = [threading.Thread(target=emit) for _ in range(3)]
    for thread in threads:
        thread.start()
    looks = 0
    while any(thread.is_alive() for thread in threads):
        for path, counts in tracker.stats().items():
            assert counts.balanced, (path, counts)
        looks += 1
    assert looks > 5
    assert tracker.flush(30.0)
    stats = tracker.stats()
    assert stats["b"].received == stats["b/g"].received == stats["b/g/bad"].received == 1_500
    assert stats["b"].pending == stats["b/g"].pending == stats["b/g/bad"].pending == 0
    assert (
        stats["b"].dead_lettered
        == stats["b/g/bad"].dead_lettered
        == len(router(tracker).letters.list())
    )


@pytest.mark.timeout(180)
def test_emits_from_signal_handlers_and_destructors_arrive(storage: Options, track: Track) -> None:
    """A destructor that emits on the delivering thread, and a handler that emits inside emit(),
    deadlock nothing.
    """
    import signal

    gone: list[int] = []

    class Bomb:
        def __del__(self) -> None:
            tracker.emit("destructor")
            gone.append(1)

    def make_garbage(events: Sequence[Event]) -> None:
        for event in events:
            if event.name == "x":
                bomb = Bomb()
                bomb.me = bomb  # type: ignore[attr-defined]  # a cycle, for the collector to find wherever it runs

    FailingBackend.actions[""] = make_garbage
    tracker = track(storage, ok={"plugin": "rec"}, bad={"plugin": "fail"})
    handled: list[int] = []

    def handle(*_: object) -> None:
        handled.append(1)
        tracker.emit("handler")
        tracker.stats()
        signal.setitimer(
            signal.ITIMER_PROF, 0.001
        )  # not an interval: a busy machine would do nothing but handle

    former = signal.signal(signal.SIGPROF, handle)
    signal.setitimer(signal.ITIMER_PROF, 0.001)
    try:
        for _ in range(2_000):
            tracker.emit("x")
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        signal.signal(signal.SIGPROF, former)
    import gc

    tracker.flush(30.0)  # it does not wait for events that destructors emit meanwhile
    deadline = time.monotonic() + 60.0
    while (
        len(gone) < 2_000 and time.monotonic() < deadline
    ):  # it does nothing while another thread collects
        gc.collect()
        time.sleep(0.01)
    while not tracker.flush(30.0) and time.monotonic() < deadline:
        pass
    names = [event.name for event in RecordingBackend.recorded[""]]
    assert names.count("x") == names.count("destructor") == 2_000
    assert names.count("handler") == len(handled) > 0


def test_a_disk_buffer_needs_a_path() -> None:
    """The config says so, with its place."""
    node = {"plugin": "buffer", "storage": "disk", "backends": {"ok": {"plugin": "rec"}}}
    with pytest.raises(ConfigError, match=r"backends\.b\.path: storage = .disk. needs a folder"):
        Tracker.from_config({"backends": {"b": node}})


def test_memory_tells_what_it_could_not_deliver(
    track: Track, caplog: pytest.LogCaptureFixture
) -> None:
    """At close what is still held is failed, counted, and its number logged once."""
    FailingBackend.actions[""] = down
    tracker = track({"storage": "memory"}, ok={"plugin": "rec"}, bad={"plugin": "fail"})
    for _ in range(7):
        tracker.emit("x")
    with caplog.at_level(logging.WARNING, "eventtracking.buffer"):
        tracker.close(0.2)
    said = [
        record.getMessage() for record in caplog.records if record.name == "eventtracking.buffer"
    ]
    first = (
        r"route 'b/bad': delivery of \d events? failed: ConnectionError \(at fakes\.py:\d+\);"
        r" will retry until delivered or dead-lettered"
    )
    assert re.fullmatch(first, said[0])
    assert said[1:] == ["buffer 'b': closed with 7 event(s) not delivered, which are lost"]
    assert figures(tracker, "b") == figures(tracker, "b/bad") == {"received": 7, "failed": 7}
    assert figures(tracker, "b/ok") == {"received": 7, "delivered": 7}


def test_close_does_not_wait_for_a_hanging_child(storage: Options, track: Track) -> None:
    """After flush has run out of time, close ends within moments."""
    release = threading.Event()
    FailingBackend.actions[""] = lambda events: wait_for(release)
    tracker = track(storage, hangs={"plugin": "fail"})
    tracker.emit("x")
    begun = time.monotonic()
    tracker.close(0.5)
    assert time.monotonic() - begun < 5.0
    release.set()


def test_flush_does_not_wait_for_what_comes_meanwhile(storage: Options, track: Track) -> None:
    """While another thread goes on emitting, flush ends when what was there before has been
    delivered.
    """
    tracker = track(storage)
    stop = threading.Event()

    def emit() -> None:
        while not stop.is_set():
            tracker.emit("x")
            time.sleep(0.0005)

    thread = threading.Thread(target=emit)
    thread.start()
    try:
        tracker.emit("y")
        begun = time.monotonic()
        tracker.flush(60.0)
        assert time.monotonic() - begun < 30.0
        assert "y" in {event.name for event in RecordingBackend.recorded[""]}
    finally:
        stop.set()
        thread.join()
