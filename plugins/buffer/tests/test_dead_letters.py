"""Dead letters, in memory and on disk alike: made, listed, replayed and purged."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import pytest
from buffer_trials import (
    Options,
    Track,
    Until,
    down,
    figures,
    router,
)

from eventtracking import Event, Rejected
from eventtracking_buffer.dead_letters import Selection
from eventtracking_testkit.fakes import FailingBackend, RecordingBackend

pytestmark = pytest.mark.needs("regex_filter")


@pytest.mark.parametrize("attempts", [1, 3])
def test_events_out_of_attempts_are_dead_letters(
    storage: Options, track: Track, until: Until, attempts: int
) -> None:
    """Each is tried so often, and then kept with its route, reason, attempts and times."""
    FailingBackend.actions[""] = down
    before = time.time()
    tracker = track(
        {**storage, "max_attempts": attempts}, ok={"plugin": "rec"}, bad={"plugin": "fail"}
    )
    for number in range(5):
        tracker.emit(f"n{number}")
    until(lambda: figures(tracker, "b") == {"received": 5, "dead_lettered": 5})
    assert figures(tracker, "b/bad") == {"received": 5, "dead_lettered": 5}
    assert figures(tracker, "b/ok") == {"received": 5, "delivered": 5}
    letters = router(tracker).letters.list()
    assert sorted(letter.event.name for letter in letters) == [f"n{number}" for number in range(5)]
    for letter in letters:
        assert (letter.route, letter.reason, letter.attempts) == (
            "b/bad",
            "ConnectionError",
            attempts,
        )
        assert before <= letter.first_at <= letter.last_at <= time.time()
    assert tracker.stats()["b/bad"].reasons == {"dead_lettered: ConnectionError": 5}


def test_events_that_are_too_old_are_dead_letters(
    storage: Options, track: Track, until: Until
) -> None:
    """`max_age_s` ends the attempts as well."""
    FailingBackend.actions[""] = down
    tracker = track({**storage, "max_age_s": 0.3}, bad={"plugin": "fail"})
    tracker.emit("x")
    until(lambda: figures(tracker, "b") == {"received": 1, "dead_lettered": 1})
    assert router(tracker).letters.list()[0].attempts > 1


def test_rejected_events_are_dead_letters_at_once(storage: Options, track: Track) -> None:
    """They are not tried again; the rest of their batch is delivered."""

    def refuse_odd(events: Sequence[Event]) -> None:
        odd = {event.id: "it is odd" for event in events if event.data["n"] % 2}
        if odd:
            raise Rejected(odd)

    FailingBackend.actions[""] = refuse_odd
    tracker = track(storage, bad={"plugin": "fail"})
    for number in range(10):
        tracker.emit("x", {"n": number})
    assert tracker.flush(20.0)
    assert figures(tracker, "b") == {"received": 10, "delivered": 5, "dead_lettered": 5}
    assert {(letter.reason, letter.attempts) for letter in router(tracker).letters.list()} == {
        ("it is odd", 1)
    }


def test_one_bad_event_takes_no_others_with_it(
    storage: Options, track: Track, until: Until
) -> None:
    """An event that makes every batch fail ends as the only dead letter."""

    def break_on_poison(events: Sequence[Event]) -> None:
        if any(event.name == "poison" for event in events):
            raise ValueError

    FailingBackend.actions[""] = break_on_poison
    tracker = track({**storage, "max_attempts": 3}, bad={"plugin": "fail"})
    for number in range(50):
        tracker.emit("poison" if number == 20 else "fine")
    until(lambda: figures(tracker, "b") == {"received": 50, "delivered": 49, "dead_lettered": 1})


def test_a_replay_delivers_and_a_failed_one_changes_nothing(
    storage: Options, track: Track, until: Until
) -> None:
    """Replayed into a dead destination, every letter is as before; into a living one, it
    arrives.
    """
    FailingBackend.actions[""] = down
    tracker = track({**storage, "max_attempts": 1}, ok={"plugin": "rec"}, bad={"plugin": "fail"})
    for number in range(5):
        tracker.emit(f"n{number}")
    until(lambda: figures(tracker, "b") == {"received": 5, "dead_lettered": 5})
    before = router(tracker).letters.list()
    attempts = FailingBackend.attempts[""]
    assert router(tracker).request(Selection(), "replay") == 5
    until(lambda: FailingBackend.attempts[""] > attempts)
    until(lambda: router(tracker).letters.list() == before)
    assert figures(tracker, "b") == {"received": 5, "dead_lettered": 5}
    seen: list[str] = []
    FailingBackend.actions[""] = lambda events: seen.extend(event.name for event in events)
    assert router(tracker).request(Selection(route="b/bad", name="n1"), "replay") == 1
    until(lambda: figures(tracker, "b") == {"received": 5, "delivered": 1, "dead_lettered": 4})
    assert seen == ["n1"]
    assert len(RecordingBackend.recorded[""]) == 5
    router(tracker).request(Selection(), "replay")
    until(lambda: figures(tracker, "b") == {"received": 5, "delivered": 5})
    assert figures(tracker, "b/bad") == {"received": 5, "delivered": 5}
    assert router(tracker).letters.list() == []


def test_dead_letters_of_one_event_at_two_leaves(
    storage: Options, track: Track, until: Until
) -> None:
    """Each is replayed by itself; the event counts as dead-lettered until both have arrived."""
    FailingBackend.actions.update(p=down, q=down)
    leaves = {key: {"plugin": "fail", "key": key} for key in "pq"}
    tracker = track({**storage, "max_attempts": 1}, g={"backends": leaves})
    tracker.emit("x")
    until(lambda: figures(tracker, "b") == {"received": 1, "dead_lettered": 1})
    FailingBackend.actions.update(p=lambda events: None, q=lambda events: None)
    router(tracker).request(Selection(route="b/g/p"), "replay")
    until(lambda: figures(tracker, "b/g/p") == {"received": 1, "delivered": 1})
    until(lambda: figures(tracker, "b") == {"received": 1, "dead_lettered": 1})
    router(tracker).request(Selection(route="b/g"), "replay")
    for path in ("b", "b/g", "b/g/p", "b/g/q"):
        until(lambda path=path: figures(tracker, path) == {"received": 1, "delivered": 1})


def test_purged_letters_are_failed(storage: Options, track: Track, until: Until) -> None:
    """Who gives them up says so in the counts."""
    FailingBackend.actions[""] = down
    tracker = track({**storage, "max_attempts": 1}, bad={"plugin": "fail"})
    tracker.emit("a.b")
    tracker.emit("c.d")
    until(lambda: figures(tracker, "b") == {"received": 2, "dead_lettered": 2})
    assert router(tracker).request(Selection(name="a.*"), "purge") == 1
    until(lambda: figures(tracker, "b") == {"received": 2, "failed": 1, "dead_lettered": 1})
    assert [letter.event.name for letter in router(tracker).letters.list()] == ["c.d"]


@pytest.mark.parametrize(
    ("selection", "names"),
    [
        (Selection(), ["a.b", "a.c"]),
        (Selection(name="a.b"), ["a.b"]),
        (Selection(name="a.*"), ["a.b", "a.c"]),
        (Selection(reason="Conn"), ["a.b", "a.c"]),
        (Selection(reason="other"), []),
        (Selection(route="b"), ["a.b", "a.c"]),
        (Selection(route="b/ba"), []),
        (Selection(older_than_s=60.0), []),
        (Selection(newer_than_s=60.0), ["a.b", "a.c"]),
        (Selection(numbers=frozenset()), []),
    ],
)
def test_letters_are_selected(
    storage: Options, track: Track, until: Until, selection: Selection, names: Any
) -> None:
    """By route, name, reason and age."""
    FailingBackend.actions[""] = down
    tracker = track({**storage, "max_attempts": 1}, bad={"plugin": "fail"})
    tracker.emit("a.b")
    tracker.emit("a.c")
    until(lambda: figures(tracker, "b") == {"received": 2, "dead_lettered": 2})
    assert [letter.event.name for letter in router(tracker).letters.list(selection)] == names
