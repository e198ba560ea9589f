"""Below a buffer: partial success, batches within limits, choices, and ticks."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import attrs
import pytest
from buffer_trials import Options, Passing, Track, Until, figures

from eventtracking import Event, Undelivered
from eventtracking_testkit.distribution import fake_distribution
from eventtracking_testkit.fakes import FailingBackend, RecordingBackend

FAIL, REC = {"plugin": "fail"}, {"plugin": "rec"}


@attrs.define(eq=False)
class Choosing(Passing):
    """Pass everything on, or only to the child `only`; skip the others for a reason."""

    only: str = ""

    def send(self, events: Sequence[Event]) -> None:
        children = self.downstream.children
        if not self.only:
            super().send(events)
            return
        self.downstream.deliver(events, only=[children[self.only]])
        for name, path in children.items():
            if name != self.only:
                self.downstream.skip(path, [event.id for event in events], "not wanted")


@attrs.define(eq=False)
class Ticking:
    """Take 50 events at once, and have something to do by time."""

    max_batch_events: ClassVar[int] = 50
    sizes: ClassVar[list[int]] = []
    ticked: ClassVar[threading.Event] = threading.Event()
    tick_action: ClassVar[list[Callable[[], object]]] = []
    closed: ClassVar[list[str]] = []

    def send(self, events: Sequence[Event]) -> None:
        self.sizes.append(len(events))

    def tick(self) -> None:
        assert not self.closed
        self.ticked.set()
        for act in self.tick_action:
            act()

    def close(self) -> None:
        self.closed.append("closed")


@pytest.fixture(autouse=True)
def _installed() -> Iterator[None]:
    for memory in (Ticking.sizes, Ticking.tick_action, Ticking.closed):
        memory.clear()
    Ticking.ticked.clear()
    with fake_distribution(plugins={"pass": Choosing, "ticking": Ticking}):
        yield


def passing(**backends: Any) -> Options:
    return {"plugin": "pass", "backends": backends}


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_only_what_is_undelivered_comes_again(
    storage: Options, track: Track, until: Until, depth: int
) -> None:
    """Of 100 events 10 come twice, one is a dead letter; siblings have each once."""
    seen = Counter[int]()

    def partly(events: Sequence[Event]) -> None:
        seen.update(event.data["n"] for event in events)
        fresh = [event for event in events if seen[event.data["n"]] == 1]
        retry = {event.id: "busy" for event in fresh if event.data["n"] < 10}
        bad = {event.id: "too odd" for event in fresh if event.data["n"] == 99}
        if retry or bad:
            raise Undelivered(retry, bad, retry_after_s=0.01)

    FailingBackend.actions[""] = partly
    node = {"bad": FAIL, "ok": REC}
    for _ in range(depth):
        node = {"p": passing(**node)}
    tracker = track({**storage, "max_batch_age_s": 60.0}, **node)
    for number in range(100):
        tracker.emit("x", {"n": number})
    until(lambda: tracker.flush(20.0), 60.0)  # it does not wait for a pause
    assert seen == {n: 1 + (n < 10) for n in range(100)}
    path = "b" + "/p" * depth
    assert figures(tracker, f"{path}/bad") == {
        "received": 100,
        "delivered": 99,
        "dead_lettered": 1,
    }
    assert figures(tracker, f"{path}/ok") == {"received": 100, "delivered": 100}
    assert len(RecordingBackend.recorded[""]) == 100


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda ids: Undelivered({ids[0]: "a"}, {ids[0]: "b"}), "both to be retried and rejected"),
        (lambda ids: Undelivered({"unknown": "a"}), "1 id(s) that are not in the batch"),
        (lambda ids: Undelivered({}), "names no event"),
    ],
)
def test_an_answer_that_contradicts_itself_is_no_success(
    storage: Options, track: Track, until: Until, answer: Any, words: str
) -> None:
    """Nothing of it is believed: all come again, and the status says why."""
    taken: list[str] = []

    def act(events: Sequence[Event]) -> None:
        if FailingBackend.attempts[""] == 1:
            raise answer([event.id for event in events])
        taken.extend(event.id for event in events)

    FailingBackend.actions[""] = act
    slow = {"retry_base_s": 1_000.0, "retry_max_s": 1_000.0}
    tracker = track({**storage, **slow}, bad=FAIL)
    for _ in range(3):
        tracker.emit("x")
    (buffer,) = (route.backend for route in tracker.routes() if route.path == "b")
    until(lambda: buffer.status().failing)
    (child,) = buffer.status().failing
    assert words in child.last_error
    assert tracker.flush(20.0)
    assert len(set(taken)) == len(taken) == 3
    assert figures(tracker, "b/bad") == {"received": 3, "delivered": 3}


def test_two_events_of_one_id_are_told_apart(storage: Options, track: Track, until: Until) -> None:
    """They never share a batch, so that an answer by id is clear; both arrive."""
    batches: list[list[str]] = []

    def act(events: Sequence[Event]) -> None:
        batches.append([event.id for event in events])
        if len(batches) == 1:
            raise Undelivered({events[0].id: "busy"}, retry_after_s=0.0)

    FailingBackend.actions[""] = act
    tracker = track(storage, bad=FAIL)
    event = Event(name="x")
    tracker.submit(event)
    tracker.submit(event)
    until(lambda: tracker.flush(20.0), 60.0)
    assert batches == [[event.id]] * 3
    assert figures(tracker, "b/bad") == {"received": 2, "delivered": 2}


@pytest.mark.parametrize("depth", [0, 2])
def test_batches_are_within_the_limits_of_the_backend(
    storage: Options, track: Track, depth: int
) -> None:
    """400 events that wait go out in 8 sends of 50, however deep the backend is; the lane of a disk
    may begin with the first of them.
    """
    node: Options = {"t": {"plugin": "ticking"}}
    for _ in range(depth):
        node = {"p": passing(**node)}
    tracker = track({**storage, "max_batch_age_s": 60.0, "max_batch_events": 500}, **node)
    for _ in range(400):
        tracker.emit("x")
    assert tracker.flush(20.0)
    assert (sum(Ticking.sizes), max(Ticking.sizes)) == (400, 50)
    assert storage["storage"] == "disk" or Ticking.sizes == [50] * 8


def test_a_router_that_skips_below_a_buffer(storage: Options, track: Track) -> None:
    """The child that is passed over has filtered each event, for the router's reason."""
    tracker = track(storage, p={**passing(ok=REC, no=FAIL), "only": "ok"})
    for _ in range(20):
        tracker.emit("x")
    assert tracker.flush(20.0)
    assert figures(tracker, "b/p") == figures(tracker, "b") == {"received": 20, "delivered": 20}
    assert figures(tracker, "b/p/no") == {"received": 20, "filtered": 20}
    assert tracker.stats()["b/p/no"].reasons == {"filtered: not wanted": 20}
    assert "" not in FailingBackend.attempts


@pytest.mark.parametrize("below", [False, True])
def test_a_lane_ticks_while_nothing_is_sent(
    storage: Options, track: Track, until: Until, below: bool
) -> None:
    """About once a second, also below a router that passes through; never after close."""
    node = {"t": {"plugin": "ticking"}}
    tracker = track(storage, **({"p": passing(**node)} if below else node))
    tracker.emit("x")
    until(Ticking.ticked.is_set, 60.0)
    tracker.close(20.0)
    Ticking.ticked.clear()
    assert Ticking.closed == ["closed"]


def test_a_tick_that_raises_stops_no_delivery(storage: Options, track: Track, until: Until) -> None:
    """It is named in the reasons, and events go on."""

    def refuse() -> None:
        raise OSError

    Ticking.tick_action.append(refuse)
    tracker = track(storage, t={"plugin": "ticking"})
    tracker.emit("x")
    until(Ticking.ticked.is_set, 60.0)
    tracker.emit("y")
    assert tracker.flush(20.0)
    assert figures(tracker, "b/t") == {"received": 2, "delivered": 2}
    until(lambda: "tick() raised OSError" in tracker.stats()["b/t"].reasons)


def test_a_tick_that_hangs_holds_up_its_own_lane_alone(
    storage: Options, track: Track, until: Until
) -> None:
    """The sibling goes on; the events behind the tick arrive when it has ended."""
    release = threading.Event()
    Ticking.tick_action.append(lambda: release.wait(60.0))
    tracker = track(storage, t={"plugin": "ticking"}, ok=REC)
    try:
        tracker.emit("x")
        until(Ticking.ticked.is_set, 60.0)
        tracker.emit("y")
        until(lambda: len(RecordingBackend.recorded.get("", [])) == 2, 60.0)
        assert sum(Ticking.sizes) == 1
    finally:
        release.set()
    assert tracker.flush(20.0)
    assert sum(Ticking.sizes) == 2
