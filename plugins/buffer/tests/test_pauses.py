"""Pauses that destinations ask for, and failures, below routers that pass through."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import attrs
import pytest
from buffer_trials import Options, Passing, Track, down, figures, take

from eventtracking import DeliveryError, Event, Outcome, Tracker
from eventtracking_buffer.delivery import lane
from eventtracking_buffer.disk.store import DiskStore
from eventtracking_buffer.memory.store import MemoryStore
from eventtracking_testkit.distribution import fake_distribution

Act = Callable[[Sequence[Event]], None]


@attrs.define(eq=False)
class Scripted:
    """Act as the test says, and remember the ids that were taken."""

    key: str = ""
    acts: ClassVar[dict[str, Act]] = {}
    calls: ClassVar[dict[str, int]] = {}
    taken: ClassVar[dict[str, list[str]]] = {}

    def send(self, events: Sequence[Event]) -> None:
        self.calls[self.key] = self.calls.get(self.key, 0) + 1
        if self.key in self.acts:
            self.acts[self.key](events)
        self.taken.setdefault(self.key, []).extend(event.id for event in events)


class FallingBack(Passing):
    """Give each event to the first child that takes it."""

    def send(self, events: Sequence[Event]) -> None:
        left, tried = list(events), list[str]()
        for path in self.downstream.children.values():
            found = self.downstream.deliver(left, only=[path]).outcomes.get(path, {})
            taken = [e.id for e in left if found.get(e.id) is Outcome.DELIVERED]
            for other in tried:
                self.downstream.skip(other, taken, "another child took it")
            left = [event for event in left if event.id not in taken]
            tried.append(path)


@pytest.fixture(autouse=True)
def _installed() -> Iterator[None]:
    plugins = {"do": Scripted, "pass": Passing, "fallback": FallingBack}
    with fake_distribution(plugins=plugins):
        yield
    for memory in (Scripted.acts, Scripted.calls, Scripted.taken):
        memory.clear()


def pause(pause_s: float) -> Act:
    def act(events: Sequence[Event]) -> None:
        raise DeliveryError("too many requests", retry_after_s=pause_s)

    return act


def children(*keys: str, plugin: str = "pass") -> Options:
    return {"plugin": plugin, "backends": {key: {"plugin": "do", "key": key} for key in keys}}


def emit(tracker: Tracker, count: int) -> None:
    """Emit, and let the buffer deliver all that is not paused."""
    for _ in range(count):
        tracker.emit("x")
    tracker.flush(20.0)


def test_a_pause_is_kept_and_is_no_attempt(
    storage: Options, track: Track, stopped_clock: Any
) -> None:
    """Neither flush nor new events end it early; afterwards each event comes, once."""
    Scripted.acts["a"] = pause(60.0)
    tracker = track(
        {**storage, "clock": stopped_clock, "max_attempts": 1}, a={"plugin": "do", "key": "a"}
    )
    emit(tracker, 5)
    emit(tracker, 5)
    stopped_clock.advance(59.0)
    assert not tracker.flush(20.0)
    assert Scripted.calls["a"] == 1
    assert figures(tracker, "b") == {"received": 10, "pending": 10}
    Scripted.acts["a"] = take
    stopped_clock.advance(2.0)
    assert tracker.flush(20.0)
    assert len(set(Scripted.taken["a"])) == len(Scripted.taken["a"]) == 10


@pytest.mark.parametrize("nested", [False, True])
def test_only_the_child_that_asked_for_a_pause_waits(
    storage: Options, track: Track, stopped_clock: Any, nested: bool
) -> None:
    """Below a router that passes through its sibling has new events at once, and each once."""
    Scripted.acts["a"] = pause(60.0)
    node = children("a", "b")
    tracker = track(
        {**storage, "clock": stopped_clock, "max_attempts": 1},
        p={"plugin": "pass", "backends": {"q": node}} if nested else node,
    )
    path = "b/p/q" if nested else "b/p"
    for _ in range(4):
        emit(tracker, 5)
        stopped_clock.advance(10.0)
    assert figures(tracker, f"{path}/b") == {"received": 20, "delivered": 20}
    assert (Scripted.calls["a"], figures(tracker, f"{path}/a")["pending"]) == (1, 20)
    assert figures(tracker, "b") == {"received": 20, "pending": 20}
    Scripted.acts["a"] = take
    stopped_clock.advance(30.0)
    assert tracker.flush(20.0)
    assert sorted(Scripted.taken["a"]) == sorted(Scripted.taken["b"])
    assert len(set(Scripted.taken["a"])) == len(Scripted.taken["a"]) == 20
    assert figures(tracker, path) == {"received": 20, "delivered": 20}


def test_a_fallback_takes_what_comes_during_a_pause(
    storage: Options, track: Track, stopped_clock: Any
) -> None:
    """The first child is left alone, the second one has all, and nothing waits."""
    Scripted.acts["a"] = pause(60.0)
    tracker = track({**storage, "clock": stopped_clock}, p=children("a", "b", plugin="fallback"))
    for _ in range(3):
        emit(tracker, 5)
    assert (Scripted.calls["a"], len(Scripted.taken["b"])) == (1, 15)
    assert figures(tracker, "b") == {"received": 15, "delivered": 15}
    assert figures(tracker, "b/p/a") == {"received": 15, "filtered": 15}
    Scripted.acts["a"] = take
    stopped_clock.advance(61.0)
    emit(tracker, 5)
    assert (len(Scripted.taken["a"]), len(Scripted.taken["b"])) == (5, 15)


def test_a_child_that_fails_holds_up_no_sibling_below_a_passing_router(
    storage: Options, track: Track, until: Callable[..., None], stopped_clock: Any
) -> None:
    """It rests for its own delay; what the sibling gets meanwhile is no attempt of its events."""
    Scripted.acts["a"] = down
    rests = {"retry_base_s": 1_000.0, "retry_max_s": 1_000.0, "max_attempts": 2}
    options = {**storage, **rests, "max_batch_age_s": 0.0, "clock": stopped_clock}
    tracker = track(options, p=children("a", "b"))
    for count in range(1, 4):
        for _ in range(5):
            tracker.emit("x")
        done = {"received": 5 * count, "delivered": 5 * count}
        until(lambda done=done: figures(tracker, "b/p/b") == done, 60.0)
    assert figures(tracker, "b/p/a") == {"received": 15, "pending": 15}
    Scripted.acts["a"] = take
    stopped_clock.advance(2_000.0)
    assert tracker.flush(20.0)
    assert sorted(Scripted.taken["a"]) == sorted(Scripted.taken["b"])
    assert len(set(Scripted.taken["a"])) == 15


def test_an_event_that_dies_at_one_child_waits_for_the_pause_of_another(
    storage: Options, track: Track, stopped_clock: Any
) -> None:
    """It is a dead letter where it was tried too often, and arrives where it was not tried."""
    Scripted.acts.update(a=pause(60.0), c=down)
    tracker = track({**storage, "max_attempts": 1, "clock": stopped_clock}, p=children("a", "c"))
    emit(tracker, 3)
    assert figures(tracker, "b/p/c") == {"received": 3, "dead_lettered": 3}
    assert figures(tracker, "b/p/a") == {"received": 3, "pending": 3}
    Scripted.acts["a"] = take
    stopped_clock.advance(61.0)
    assert tracker.flush(20.0)
    assert figures(tracker, "b/p/a") == {"received": 3, "delivered": 3}
    assert figures(tracker, "b") == {"received": 3, "dead_lettered": 3}


@pytest.mark.parametrize("below", ["two", "one"])
@pytest.mark.parametrize("where", [DiskStore, MemoryStore], ids=["disk", "memory"])
def test_flush_waits_until_a_batch_is_written_down(
    where: Any, below: str, track: Track, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sibling is paused, in the same lane or another; the outcome is not counted yet."""
    written = where.report

    def slowly(store: Any, report: Any) -> None:
        if report.lane != "b/a":
            time.sleep(0.5)
        written(store, report)

    monkeypatch.setattr(where, "report", slowly)
    Scripted.acts["a"] = pause(60.0)
    kinds = {DiskStore: {"storage": "disk", "path": str(tmp_path / "buffer")}}
    options = kinds.get(where, {"storage": "memory"})
    one = children("a", "c")
    tracker = track(options, **(one["backends"] if below == "two" else {"p": one}))
    emit(tracker, 3)
    prefix = "b" if below == "two" else "b/p"
    assert figures(tracker, f"{prefix}/a") == {"received": 3, "pending": 3}
    assert figures(tracker, f"{prefix}/c") == {"received": 3, "delivered": 3}


def test_age_goes_on_in_a_pause(storage: Options, track: Track, stopped_clock: Any) -> None:
    """Past `max_age_s` an event is a dead letter at the end of the pause, untried."""
    Scripted.acts["a"] = pause(60.0)
    tracker = track({**storage, "max_age_s": 30.0, "clock": stopped_clock}, p=children("a", "b"))
    emit(tracker, 3)
    stopped_clock.advance(59.0)
    tracker.flush(20.0)
    assert figures(tracker, "b/p/a") == {"received": 3, "pending": 3}
    stopped_clock.advance(2.0)
    assert tracker.flush(20.0)
    assert Scripted.calls["a"] == 1
    assert figures(tracker, "b/p/a") == {"received": 3, "dead_lettered": 3}
    assert figures(tracker, "b/p/b") == {"received": 3, "delivered": 3}


def test_what_waits_for_a_paused_child_is_bounded(
    storage: Options, track: Track, stopped_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When too much waits in memory nothing more is read, and nothing is lost."""
    monkeypatch.setattr(lane, "_MAX_HELD_EVENTS", 10)
    Scripted.acts["a"] = pause(60.0)
    options = {"clock": stopped_clock, "max_batch_events": 4}
    tracker = track({**storage, **options}, p=children("a", "b"))
    emit(tracker, 30)
    assert 10 <= len(Scripted.taken["b"]) <= 13  # a lane on disk may begin with fewer than 4
    Scripted.acts["a"] = take
    stopped_clock.advance(61.0)
    assert tracker.flush(20.0)
    assert sorted(Scripted.taken["a"]) == sorted(Scripted.taken["b"])
    assert len(set(Scripted.taken["a"])) == len(Scripted.taken["a"]) == 30


def test_close_does_not_wait_for_a_pause(
    storage: Options, track: Track, stopped_clock: Any
) -> None:
    """On disk the paused events stay, and the next process delivers them to that child alone."""
    Scripted.acts["a"] = pause(3_600.0)
    tracker = track({**storage, "clock": stopped_clock}, p=children("a", "b"))
    emit(tracker, 3)
    tracker.close(20.0)
    assert (Scripted.calls["a"], len(Scripted.taken["b"])) == (1, 3)
    if storage["storage"] == "memory":
        assert figures(tracker, "b/p/a") == {"received": 3, "failed": 3}
        return
    Scripted.acts["a"] = take
    second = track(storage, p=children("a", "b"))
    assert second.flush(20.0)
    assert sorted(Scripted.taken["a"]) == sorted(Scripted.taken["b"])
    assert figures(second, "b/p/a") == figures(second, "b/p/b") == {"received": 3, "delivered": 3}
