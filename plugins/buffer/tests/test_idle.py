"""A buffer on disk at rest: what it asks the system for, and that nothing is overlooked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from eventtracking import Event, Rejected, Tracker
from eventtracking_buffer.dead_letters import Selection
from eventtracking_testkit.fakes import FailingBackend, RecordingBackend

Track = Callable[..., Tracker]
Until = Callable[..., None]


@pytest.fixture
def disk(tmp_path: Path) -> dict[str, Any]:
    """Return the options of a buffer on disk."""
    return {"storage": "disk", "path": str(tmp_path / "buffer")}


def refuse(events: Sequence[Event]) -> None:
    raise Rejected({event.id: "no" for event in events})


@pytest.fixture
def _at_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the buffer be idle at once, and look often."""
    monkeypatch.setattr("eventtracking_buffer.disk.deliverer._PAUSES", ())
    monkeypatch.setattr("eventtracking_buffer.disk.deliverer._IDLE_S", 0.01)


@pytest.mark.usefixtures("_at_rest")
def test_at_rest_the_state_is_asked_for_its_version_alone(
    track: Track, disk: dict[str, Any], until: Until
) -> None:
    """Where nothing has changed, looking makes no query but the one for the version."""
    tracker = track(disk)
    tracker.emit("x")
    assert tracker.flush(20.0)
    asked: list[str] = []
    connection = tracker.routes()[1].backend._engine._state.connection
    until(lambda: _are_versions(connection, asked))
    connection.set_trace_callback(None)


def _are_versions(connection: Any, asked: list[str]) -> bool:
    """Whether the last ten statements are nothing but looks at the version."""
    connection.set_trace_callback(asked.append)
    return len(asked) >= 10 and set(asked[-10:]) == {"PRAGMA data_version"}


@pytest.mark.usefixtures("_at_rest")
def test_at_rest_the_events_of_others_are_found(
    track: Track, disk: dict[str, Any], until: Until
) -> None:
    """A first event makes a file; the next ones only append to it. Each is found, one by one."""
    deliverer, other = track(disk), track(disk)
    deliverer.open()
    until(lambda: deliverer.routes()[1].backend.status().delivered_by)
    for number in range(1, 5):
        other.emit("x")
        until(lambda number=number: len(RecordingBackend.recorded.get("", ())) == number)
    assert other.stats()["b"].received == 4


@pytest.mark.usefixtures("_at_rest")
def test_at_rest_the_requests_of_others_are_served(
    track: Track, disk: dict[str, Any], until: Until
) -> None:
    """1,200 dead letters, more than are served at once, are purged at the wish of another one."""
    FailingBackend.actions[""] = refuse
    tracker = track(disk, bad={"plugin": "fail"})
    for _ in range(1_200):
        tracker.emit("x")
    assert tracker.flush(20.0)
    other = track(disk, bad={"plugin": "fail"}).routes()[1].backend  # not opened
    assert other.request(Selection(), "purge") == 1_200
    until(lambda: tracker.stats()["b"].failed == 1_200)
