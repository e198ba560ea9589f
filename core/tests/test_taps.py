"""Taps: the events that pass a route, with what became of each."""

from __future__ import annotations

import threading

import pytest
from eventtracking_fakes import ACTIONS

from eventtracking import Outcome, Tracker


def made() -> Tracker:
    return Tracker.from_config(
        {
            "backends": {
                "a": {"plugin": "recording", "processors": [{"plugin": "stamp"}]},
                "f": {"plugin": "failing"},
                "group": {"backends": {"x": {"plugin": "recording"}}},
                "r": {"plugin": "passing", "backends": {"below": {"plugin": "recording"}}},
            }
        }
    )


@pytest.mark.parametrize("path", ["", "a", "group", "group/x", "r", "r/below"])
def test_each_route_can_be_tapped(path: str) -> None:
    """Events of the application, and batches of a router; afterwards the route is as before."""
    tracker = made()
    route = tracker._tree.routes[path]
    plain = type(route)
    with tracker.tap(path) as tap:
        tracker.emit("one")
        tracker.emit("two")
        found = tap.read()
        assert [one.event.name for one in found] == ["one", "two"]
        assert tap.skipped == 0
    assert type(route) is plain
    assert route.tap is None
    tracker.emit("three")
    assert tap.read() == []


def test_before_and_after_the_processors() -> None:
    """`stamp` changes each event: before, it is not yet changed."""
    tracker = made()
    with tracker.tap("a", before=True) as before, tracker.tap("a") as after:
        tracker.emit("x", {"n": 1})
        [came], [went] = before.read(), after.read()
    assert came.event.data == {"n": 1}
    assert went.event.data != {"n": 1}
    assert came.event.id == went.event.id


def test_the_outcome_is_told() -> None:
    """Delivered here, failed there."""
    ACTIONS[""] = lambda events: (_ for _ in ()).throw(OSError("down"))
    tracker = made()
    with tracker.tap("f") as failing, tracker.tap("a") as sound, tracker.tap("") as root:
        tracker.emit("x")
        assert [one.outcome for one in failing.read()] == [Outcome.FAILED]
        assert [one.outcome for one in sound.read()] == [Outcome.DELIVERED]
        assert [one.outcome for one in root.read()] == [Outcome.FAILED]


def test_what_finds_no_room_is_counted() -> None:
    """A full tap lets go of the route, and says how many passed meanwhile; reading makes room."""
    tracker = made()
    route = tracker._tree.routes["a"]
    plain = type(route)
    with tracker.tap("a", room=3) as tap:
        for number in range(10):
            tracker.emit(f"e{number}")
        assert type(route) is plain
        assert [one.event.name for one in tap.read()] == ["e0", "e1", "e2"]
        assert tap.skipped == 7
        tracker.emit("later")
        assert [one.event.name for one in tap.read()] == ["later"]
        assert tap.skipped == 7


def test_many_threads_and_readers() -> None:
    """Each event is read or skipped, whoever emits; the counts stay right."""
    tracker = made()
    with tracker.tap("a", room=50) as tap:
        threads = [
            threading.Thread(target=lambda: [tracker.emit("x") for _ in range(500)])
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        read = 0
        while any(thread.is_alive() for thread in threads):
            read += len(tap.read(0.01))
        read += len(tap.read())
        tap.read()
    assert tracker.stats()["a"].delivered == 2000
    assert 50 <= read <= 2000
    assert abs(read + tap.skipped - 2000) <= 8  # a thread that is inside as the route is let go


def test_an_unknown_route_is_named() -> None:
    """With those that there are."""
    with pytest.raises(KeyError, match="the routes of this config are"):
        made().tap("nope")
