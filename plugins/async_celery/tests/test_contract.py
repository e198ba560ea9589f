"""Pauses, partial success, standings and ticks in a worker."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import attrs
import msgspec
import pytest
from celery_inside import InsideWorker, Script, Ticking

from eventtracking import DeliveryError, Event, Rejected, Undelivered
from eventtracking_async_celery.envelope import Envelope
from eventtracking_async_celery.pauses import Pauses
from eventtracking_testkit.distribution import fake_distribution

NewWorker = Callable[..., InsideWorker]


@pytest.fixture
def new_worker() -> Iterator[NewWorker]:
    made: list[InsideWorker] = []

    def make(backends: dict[str, Any], **options: Any) -> InsideWorker:
        made.append(InsideWorker(backends, options))
        return made[-1]

    with fake_distribution(plugins={"script": Script, "ticking": Ticking}):
        yield make
    for worker in made:
        worker.close()


def script(key: str) -> dict[str, Any]:
    return {"plugin": "script", "key": key}


def pause(pause_s: float) -> Callable[[Sequence[Event]], None]:
    def answer(events: Sequence[Event]) -> None:
        raise DeliveryError("too many requests", retry_after_s=pause_s)

    return answer


def fail(events: Sequence[Event]) -> None:
    raise OSError


def test_a_pause_is_kept_and_is_no_attempt(new_worker: NewWorker) -> None:
    """The destination asks for 30 s: the batch comes again then, and later ones are not tried."""
    worker = new_worker({"a": script("a")}, max_attempts=1)
    Script.answers["a"] = pause(30)
    worker.emit("e1")
    ((batch, delay_s),) = worker.work_all()
    assert 28 < delay_s <= 30
    assert (batch["attempt"], batch["lost"]) == (0, 0)
    worker.emit("e2")
    ((later, delay_s),) = worker.work_all()
    assert 28 < delay_s <= 30
    assert later["attempt"] == 0
    assert Script.calls["a"] == [["e1"]]
    worker.router.pauses = Pauses()  # as when the time is over
    del Script.answers["a"]
    for message in (batch, later):
        worker.work({**message, "pauses": {}})
    assert Script.calls["a"] == [["e1"], ["e1"], ["e2"]]
    assert worker.tracker.stats()["w/a"].delivered == 2


def test_another_worker_knows_the_pause_from_the_message(new_worker: NewWorker) -> None:
    """The message says until when; a worker that never heard the destination keeps it."""
    worker = new_worker({"a": script("a")})
    Script.answers["a"] = pause(30)
    worker.emit("e1")
    ((batch, _),) = worker.work_all()
    worker.router.pauses = Pauses()
    worker.work(batch)
    ((again, delay_s),) = worker.batches()
    assert 28 < delay_s <= 30
    assert (again["attempt"], Script.calls["a"]) == (0, [["e1"]])


def test_a_long_pause_is_bridged_in_hops(new_worker: NewWorker) -> None:
    """No message waits longer than its broker allows; each hop is no attempt."""
    worker = new_worker({"a": script("a")}, visibility_timeout_s=60.0, max_attempts=1)
    longest_s = worker.router.max_delay_s
    Script.answers["a"] = pause(3600)
    worker.emit("e1")
    ((batch, delay_s),) = worker.work_all()
    for _ in range(3):
        assert longest_s - 2 < delay_s <= longest_s
        worker.work(batch)
        ((batch, delay_s),) = worker.batches()
    assert (batch["attempt"], Script.calls["a"]) == (0, [["e1"]])
    assert 3590 < batch["pauses"]["w/a"] - time.time() <= 3600


def test_a_paused_destination_holds_up_no_sibling(new_worker: NewWorker) -> None:
    """Only the paused leaf waits; a sibling has new events at once, and once."""
    worker = new_worker({"a": script("a"), "b": script("b")})
    Script.answers["a"] = pause(30)
    worker.emit("e1")
    worker.work_all()
    worker.emit("e2")
    ((_, _),) = worker.work_all()
    assert Script.calls == {"a": [["e1"]], "b": [["e1"], ["e2"]]}


@attrs.define(eq=False)
class Passing:
    """Pass everything on to every child."""

    downstream: Any = attrs.field(init=False, default=None)

    def bind(self, downstream: Any) -> None:
        self.downstream = downstream

    def send(self, events: Sequence[Event]) -> None:
        self.downstream.deliver(events)


def test_a_pause_below_a_passing_router_holds_up_no_sibling(new_worker: NewWorker) -> None:
    """The sibling has new events at once, and once; the paused leaf has each after the pause."""
    with fake_distribution(plugins={"pass": Passing}):
        worker = new_worker(
            {"p": {"plugin": "pass", "backends": {"a": script("a"), "b": script("b")}}},
            max_attempts=1,
        )
    Script.answers["a"] = pause(30)
    worker.emit("e1")
    worker.work_all()
    worker.emit("e2")
    ((batch, delay_s),) = worker.work_all()
    assert Script.calls == {"a": [["e1"]], "b": [["e1"], ["e2"]]}
    assert 28 < delay_s <= 30
    assert batch["attempt"] == 0
    del Script.answers["a"]
    worker.router.pauses = Pauses()  # as when the time is over
    worker.work({**batch, "pauses": {}})
    assert Script.calls["a"] == [["e1"], ["e2"]]
    assert Script.calls["b"] == [["e1"], ["e2"]]
    assert worker.tracker.stats()["w/p/a"].dead_lettered == 0


def test_only_what_is_undelivered_comes_again(new_worker: NewWorker) -> None:
    """Of ten events two are to be tried again and one is bad: seven are delivered, once."""
    worker = new_worker({"a": script("a")})

    def partly(events: Sequence[Event]) -> None:
        ids = {event.name: event.id for event in events}
        raise Undelivered(
            retry={ids["e1"]: "busy", ids["e2"]: "busy"}, rejected={ids["e3"]: "too odd"}
        )

    Script.answers["a"] = partly
    worker.emit(*(f"e{number}" for number in range(10)))
    ((batch, _),) = worker.work_all()
    assert (batch["count"], batch["attempt"]) == (2, 1)
    del Script.answers["a"]
    worker.work(batch)
    assert Script.calls["a"][1] == ["e1", "e2"]
    counts = worker.tracker.stats()["w/a"]
    assert (counts.received, counts.delivered, counts.dead_lettered) == (10, 9, 1)
    (letter,) = worker.taken(".dead")
    assert letter.payload["count"] == 1


def test_paused_events_are_split_from_failed_ones(new_worker: NewWorker) -> None:
    """In one batch some events are asked to wait and others fail: two messages, one attempt."""
    worker = new_worker({"a": script("a"), "b": script("b")})

    def pause_some(events: Sequence[Event]) -> None:
        raise Undelivered({events[0].id: "slow down"}, retry_after_s=60)

    def fail_others(events: Sequence[Event]) -> None:
        raise Undelivered({event.id: "busy" for event in events[1:]})

    Script.answers.update(a=pause_some, b=fail_others)
    worker.emit("e0", "e1", "e2")
    found = {batch["attempt"]: (batch["count"], delay_s) for batch, delay_s in worker.work_all()}
    assert found.keys() == {0, 1}
    assert found[0][0] == 1
    assert found[0][1] > 55
    assert found[1][0] == 2


def test_a_pause_costs_no_attempt_of_an_event_that_fails_elsewhere(new_worker: NewWorker) -> None:
    """One event is paused at one leaf and failing at another: only there it is given up."""
    worker = new_worker({"a": script("a"), "b": script("b")}, max_attempts=3, min_retry_s=0.001)
    Script.answers.update(a=pause(60), b=fail)
    worker.emit("e1")
    left = worker.work_all()
    for _ in range(2):
        left = worker_again(worker, left)
    (letter,) = worker.taken(".dead")
    assert (letter.payload["leaf"], letter.payload["attempt"]) == ("w/b", 3)
    ((batch, delay_s),) = left
    assert delay_s > 50
    assert batch["attempt"] - batch["spared"]["w/a"] == 0
    worker.router.pauses = Pauses()
    Script.answers["a"] = fail
    for expected in (1, 2, 3):
        left = worker_again(worker, [({**batch, "pauses": {}}, 0.0)])
        if expected < 3:
            ((batch, _),) = left
            assert batch["attempt"] - batch["spared"]["w/a"] == expected
    assert left == []
    (letter,) = worker.taken(".dead")
    assert (letter.payload["leaf"], letter.payload["attempt"]) == ("w/a", 3)


def worker_again(worker: InsideWorker, left: list[tuple[Any, float]]) -> list[tuple[Any, float]]:
    for batch, _ in left:
        worker.work(batch)
    return worker.batches()


def test_an_event_grows_too_old_in_a_pause(new_worker: NewWorker) -> None:
    """Age goes on: past `max_age_s` it becomes a dead letter at the end of the pause, untried."""
    worker = new_worker({"a": script("a")}, max_age_s=5.0)
    Script.answers["a"] = pause(60)
    worker.emit("e1")
    ((batch, _),) = worker.work_all()
    worker.router.pauses = Pauses()
    over = {**batch, "first_at": time.time() - 60, "pauses": {"w/a": time.time() - 1}}
    worker.work(over)
    (letter,) = worker.taken(".dead")
    assert Script.calls["a"] == [["e1"]]
    assert letter.payload["leaf"] == "w/a"
    assert worker.tracker.stats()["w/a"].dead_lettered == 1
    (found,) = worker.tracker.stats()["w/a"].reasons
    assert "had asked for a pause" in found


def test_standings_travel_as_names(new_worker: NewWorker) -> None:
    """On the wire an outcome is a word, not a number that may change its meaning."""
    worker = new_worker({"a": script("a"), "b": script("b")})
    Script.answers["b"] = fail
    worker.emit("e1")
    ((batch, _),) = worker.work_all()
    body = Envelope.read(batch).unpack_body(1_000_000)
    _, progress, _ = msgspec.msgpack.decode(body)
    assert list(progress.values()) == [{"w/a": "delivered", "w/b": "pending"}]


def test_a_group_counts_an_event_once(new_worker: NewWorker) -> None:
    """A group is done when its last leaf is, however many messages that takes, and by its worst."""
    group = {"backends": {"a": script("a"), "b": script("b")}}
    worker = new_worker({"g": group}, max_attempts=2, min_retry_s=0.001)
    Script.answers["b"] = fail
    worker.emit("e1")
    left = worker.work_all()
    stats = worker.tracker.stats()
    assert (stats["w/g"].received, stats["w/g/a"].delivered, stats["w/g/b"].received) == (0, 1, 0)
    assert worker_again(worker, left) == []
    stats = worker.tracker.stats()
    assert (stats["w/g"].received, stats["w/g"].dead_lettered) == (1, 1)
    assert (stats["w/g/a"].received, stats["w/g/b"].dead_lettered) == (1, 1)


def test_a_rejection_of_a_processor_is_a_dead_letter(new_worker: NewWorker) -> None:
    """A processor below refuses an event: it is bad for good at that leaf."""

    @attrs.define(eq=False)
    class Refusing:
        def __call__(self, event: Event) -> Event:
            raise Rejected({event.id: "no consent"})

    with fake_distribution(plugins={"refusing": Refusing}):
        worker = new_worker({"a": {**script("a"), "processors": [{"plugin": "refusing"}]}})
        worker.emit("e1")
        assert worker.work_all() == []
    (letter,) = worker.taken(".dead")
    assert letter.payload["leaf"] == "w/a"
    assert worker.tracker.stats()["w/a"].dead_lettered == 1


def test_backends_tick_between_deliveries(new_worker: NewWorker) -> None:
    """About once a second, never while a delivery runs."""
    Ticking.ticks.clear()
    worker = new_worker({"a": {"plugin": "ticking", "key": "a"}})
    during: list[int] = []
    ticked = threading.Event()

    def slow(events: Sequence[Event]) -> None:
        before = len(Ticking.ticks)
        ticked.wait(1.5)
        during.append(len(Ticking.ticks) - before)

    Script.answers["a"] = slow
    worker.emit("e1")
    worker.work_all()
    assert during == [0]
    deadline = time.monotonic() + 10
    while not Ticking.ticks and time.monotonic() < deadline:
        time.sleep(0.02)
    assert Ticking.ticks
    worker.router.pulse.stop()
