"""Processes in which the clock stands still, or no thread can be started."""

from __future__ import annotations

import _thread
import time
from collections.abc import Callable
from typing import Any

import pytest
from freezegun import freeze_time

from eventtracking import Tracker
from eventtracking_testkit.fakes import FailingBackend, RecordingBackend

Options = dict[str, Any]
Track = Callable[..., Tracker]
Until = Callable[..., None]

pytestmark = pytest.mark.timeout(180)


def test_a_frozen_clock_stops_no_delivery(track: Track, storage: Options) -> None:
    """Under a freeze of time events are delivered, and `flush` and `close` return."""
    with freeze_time("2020-01-01"):
        tracker = track(storage)
        for number in range(5):
            tracker.emit(f"e{number}")
        assert tracker.flush(60)
        tracker.close(60)
    assert [event.name for event in RecordingBackend.recorded[""]] == [f"e{n}" for n in range(5)]
    assert {event.timestamp.year for event in RecordingBackend.recorded[""]} == {2020}


@pytest.mark.parametrize("seconds", [0.0, 1.0])
def test_a_frozen_clock_ends_no_limit(track: Track, storage: Options, seconds: float) -> None:
    """With a destination that is down, `flush` and `close` end although the clock stands still."""
    with freeze_time("2020-01-01"):
        tracker = track(storage, away={"plugin": "fail"})
        tracker.emit("waits")
        assert not tracker.flush(seconds)
        tracker.close(seconds)
    counts = tracker.stats()["b"]
    assert (counts.received, counts.delivered) == (1, 0)
    assert FailingBackend.attempts.get("", 0) < 200  # it does not try without a pause


def test_a_process_without_threads_delivers_once_it_has_some(
    track: Track, storage: Options, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the system refuses new threads events wait; afterwards a later emit delivers them."""

    refused = []

    def refuse(*_: Any) -> None:
        refused.append(True)
        raise RuntimeError("can't start new thread")

    tracker = track(storage)
    with monkeypatch.context() as patch:
        patch.setattr(_thread, "start_new_thread", refuse)
        tracker.emit("first")
        assert tracker.stats()["b"].pending == 1
        assert refused
    deadline = time.monotonic() + 60
    while tracker.stats()["b"].delivered < 2 and time.monotonic() < deadline:
        tracker.emit("later")
        time.sleep(0.05)
    assert tracker.flush(60)
    assert RecordingBackend.recorded[""][0].name == "first"
