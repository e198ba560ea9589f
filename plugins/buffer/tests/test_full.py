"""A full buffer: drops, refusals and waits."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from buffer_trials import (
    Options,
    Track,
    Until,
    down,
    figures,
    hang,
)

from eventtracking import Event
from eventtracking_testkit.fakes import FailingBackend

pytestmark = pytest.mark.needs("regex_filter")


def wait_for(release: threading.Event) -> None:
    release.wait(60.0)


@pytest.mark.parametrize("when_full", ["drop_newest", "drop_oldest"])
def test_a_full_buffer_drops_counts_and_tells(
    storage: Options, track: Track, until: Until, caplog: pytest.LogCaptureFixture, when_full: str
) -> None:
    """Events past `max_events` are failed with their reason, and the log hears of it a bounded
    number of times.
    """
    release = threading.Event()
    seen: list[int] = []

    def hang_then_take(events: Sequence[Event]) -> None:
        release.wait(30.0)
        seen.extend(event.data["n"] for event in events)

    FailingBackend.actions[""] = hang_then_take
    tracker = track({**storage, "max_events": 50, "when_full": when_full}, bad={"plugin": "fail"})
    tracker.emit("x", {"n": 0})
    until(lambda: FailingBackend.attempts.get("") == 1)
    with caplog.at_level(logging.WARNING, "eventtracking.buffer"):
        for number in range(1, 500):
            tracker.emit("x", {"n": number})
        until(lambda: "the buffer is full" in caplog.text)
    assert figures(tracker, "b")["failed"] > 0
    release.set()
    assert tracker.flush(20.0)
    stats = tracker.stats()["b"]
    assert (stats.received, stats.delivered + stats.failed, stats.pending) == (500, 500, 0)
    assert stats.delivered >= 40
    assert (499 in seen) is (when_full == "drop_oldest")
    assert sum("full" in reason for reason in stats.reasons) >= 1
    assert sum("the buffer is full" in record.getMessage() for record in caplog.records) < 10


def test_a_full_buffer_makes_the_caller_wait_and_then_refuses(
    storage: Options, track: Track, until: Until
) -> None:
    """With "block", emit() waits up to its limit for room; it gets room as soon as there
    is some.
    """
    release = threading.Event()
    FailingBackend.actions[""] = lambda events: wait_for(release)
    options = {**storage, "max_events": 2, "when_full": "block", "block_timeout_s": 0.3}
    tracker = track(options, bad={"plugin": "fail"})
    tracker.emit("x")
    tracker.emit("x")
    begun = time.monotonic()
    tracker.emit("refused")
    assert time.monotonic() - begun >= 0.3
    assert figures(tracker, "b") == {"received": 3, "failed": 1, "pending": 2}
    threading.Timer(0.1, release.set).start()
    tracker.emit("waits for room")
    assert tracker.flush(20.0)
    assert figures(tracker, "b") == {"received": 4, "failed": 1, "delivered": 3}


def test_a_buffer_is_bounded_in_bytes(storage: Options, track: Track) -> None:
    """`max_bytes` counts as well, and one event that is larger than the buffer is refused."""
    FailingBackend.actions[""] = down
    tracker = track({**storage, "max_bytes": 20_000}, bad={"plugin": "fail"})
    for _ in range(10):
        tracker.emit("x", {"text": "a" * 5_000})
    tracker.emit("x", {"text": "a" * 50_000})
    assert figures(tracker, "b") == {"received": 11, "failed": 8, "pending": 3}
    FailingBackend.actions[""] = lambda events: None
    assert tracker.flush(20.0)


def test_a_buffer_that_a_flush_has_emptied_has_room(tmp_path: Path, track: Track) -> None:
    """The next event finds room at once, even if one was refused a moment ago."""
    options = {"storage": "disk", "path": str(tmp_path / "buffer"), "max_events": 1}
    tracker = track(options, p={"plugin": "fail"})
    for _ in range(30):
        release = threading.Event()
        FailingBackend.actions[""] = hang(release)
        tracker.emit("stored")
        tracker.emit("refused")
        release.set()
        assert tracker.flush(60.0)
    assert figures(tracker) == {"received": 60, "delivered": 30, "failed": 30}
