"""The books of dead letters: doubled, unfinished, limited, unreadable."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest
from buffer_trials import (
    Options,
    Track,
    Until,
    down,
    figures,
    hang,
    reject,
    router,
    take,
)

from eventtracking import Event
from eventtracking_buffer.dead_letters import Selection
from eventtracking_testkit.fakes import FailingBackend

pytestmark = pytest.mark.needs("regex_filter")


@pytest.mark.parametrize("what", ["two letters", "one letter", "a purge of one"])
def test_dead_letters_of_two_events_with_one_id(
    storage: Options, track: Track, until: Until, what: str
) -> None:
    """Each is replayed or purged by itself; the outcome of the other event of the id stays."""
    FailingBackend.actions[""] = reject
    tracker = track(storage, p={"plugin": "fail"})
    event = Event(name="x")
    tracker.submit(event)
    if what != "one letter":
        tracker.submit(event)
        until(lambda: figures(tracker, "b") == {"received": 2, "dead_lettered": 2})
        FailingBackend.actions[""] = take
    else:
        until(lambda: figures(tracker, "b") == {"received": 1, "dead_lettered": 1})
        FailingBackend.actions[""] = take
        tracker.submit(event)
        until(lambda: figures(tracker, "b") == {"received": 2, "delivered": 1, "dead_lettered": 1})
    expected = {"received": 2, "delivered": 2}
    if what == "a purge of one":
        first = frozenset([router(tracker).letters.list()[0].number])
        router(tracker).request(Selection(numbers=first), "purge")
        expected = {"received": 2, "delivered": 1, "failed": 1}
        until(lambda: len(router(tracker).letters.list()) == 1)
    router(tracker).request(Selection(), "replay")
    until(lambda: figures(tracker, "b") == figures(tracker, "b/p") == expected)
    assert router(tracker).letters.list() == []


@pytest.mark.parametrize("what", ["replay", "purge"])
def test_two_dead_letters_of_one_event_at_once(
    storage: Options, track: Track, until: Until, what: str
) -> None:
    """Both leaves, the group over them, and the buffer count the event once."""
    FailingBackend.actions.update(p=reject, q=reject)
    tracker = track(storage, g={"backends": {key: {"plugin": "fail", "key": key} for key in "pq"}})
    for _ in range(5):
        tracker.emit("x")
    until(lambda: figures(tracker, "b") == {"received": 5, "dead_lettered": 5})
    until(lambda: len(router(tracker).letters.list()) == 10)
    FailingBackend.actions.update(p=take, q=take)
    assert router(tracker).request(Selection(), what) == 10
    outcome = {"received": 5, "delivered" if what == "replay" else "failed": 5}
    for path in ("b", "b/g", "b/g/p", "b/g/q"):
        until(lambda path=path: figures(tracker, path) == outcome)
    assert router(tracker).letters.list() == []


def test_a_letter_of_an_unfinished_event_is_purged(
    storage: Options, track: Track, until: Until
) -> None:
    """The event goes on at the sibling that still fails, and counts as failed when it has arrived
    there.
    """
    FailingBackend.actions.update(p=reject, q=down)
    tracker = track(storage, g={"backends": {key: {"plugin": "fail", "key": key} for key in "pq"}})
    tracker.emit("x")
    until(lambda: figures(tracker, "b/g/p") == {"received": 1, "dead_lettered": 1})
    until(router(tracker).letters.list)
    until(lambda: FailingBackend.attempts.get("q"))
    router(tracker).request(Selection(), "purge")
    until(lambda: figures(tracker, "b/g/p") == {"received": 1, "failed": 1})
    assert figures(tracker, "b") == figures(tracker, "b/g") == {"received": 1, "pending": 1}
    FailingBackend.actions.update(q=take)
    assert tracker.flush(20.0)
    for path in ("b", "b/g"):
        until(lambda path=path: figures(tracker, path) == {"received": 1, "failed": 1})
    assert figures(tracker, "b/g/q") == {"received": 1, "delivered": 1}


def test_the_limit_of_dead_letters_spares_one_that_is_replayed(track: Track, until: Until) -> None:
    """The oldest other one is given up instead, and the one on its way arrives."""
    release = threading.Event()
    FailingBackend.actions.update(a=reject, b=reject)
    leaves = {key: {"plugin": "fail", "key": key} for key in "ab"}
    tracker = track({"max_dead_letters": 2}, **leaves)
    tracker.emit("x")
    until(lambda: len(router(tracker).letters.list()) == 2)
    FailingBackend.actions["a"] = hang(release)
    router(tracker).request(Selection(route="b/a"), "replay")
    for _ in range(3):
        tracker.emit("x")
    until(lambda: figures(tracker, "b/b") == {"received": 4, "failed": 3, "dead_lettered": 1})
    release.set()
    until(lambda: figures(tracker, "b/a") == {"received": 4, "delivered": 4})
    until(lambda: figures(tracker, "b") == {"received": 4, "failed": 3, "dead_lettered": 1})
    assert len(router(tracker).letters.list()) == 1


def test_dead_letters_have_a_limit_of_bytes_and_of_age(
    storage: Options, track: Track, until: Until
) -> None:
    """The oldest beyond the bytes, and all beyond the age, count as failed."""
    FailingBackend.actions[""] = reject
    limits = {"max_dead_letter_bytes": 3_000, "dead_letter_max_age_s": 3_600.0}
    tracker = track({**storage, **limits}, p={"plugin": "fail"})
    for _ in range(3):
        tracker.emit("x", {"text": "y" * 1_200})
    until(lambda: figures(tracker, "b/p") == {"received": 3, "failed": 1, "dead_lettered": 2})
    tracker.close()
    young = {**storage, "dead_letter_max_age_s": 0.1}
    second = track(young, p={"plugin": "fail"})
    second.emit("x")
    until(lambda: second.stats()["b/p"].dead_lettered == 0 and second.stats()["b/p"].failed > 0)


@pytest.mark.parametrize("state", ["dead", "replay", "replaying", "purge"])
def test_a_letter_that_cannot_be_read_hides_no_other(
    track: Track, disk: Options, until: Until, state: str
) -> None:
    """It is listed with its known facts; a replay fails it, copies it aside, and delivers the
    others.
    """
    FailingBackend.actions[""] = reject
    first = track(disk, p={"plugin": "fail"})
    for number in range(5):
        first.emit(f"n{number}")
    until(lambda: figures(first, "b") == {"received": 5, "dead_lettered": 5})
    first.close()
    with sqlite3.connect(Path(disk["path"]) / "state.db") as connection:
        connection.execute("UPDATE dead SET payload = substr(payload, 1, 10) WHERE number = 2")
        if state != "replaying":
            connection.execute("UPDATE dead SET state = ?", (state,))
    connection.close()
    FailingBackend.actions[""] = take
    second = track(disk, p={"plugin": "fail"})
    second.open()
    if state in ("dead", "replaying"):
        letters = router(second).letters.list()
        assert [letter.event.name for letter in letters] == [f"n{number}" for number in range(5)]
        assert letters[1].reason == "no (not an event: the bytes are damaged)"
        router(second).request(Selection(), "replay")
    expected = (
        {"received": 5, "failed": 5}
        if state == "purge"
        else {"received": 5, "delivered": 4, "failed": 1}
    )
    until(lambda: figures(second, "b") == figures(second, "b/p") == expected)
    assert router(second).letters.list() == []
    assert (Path(disk["path"]) / "damaged" / "letter-2").exists() is (state != "purge")
