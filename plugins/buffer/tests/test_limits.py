"""The limits of a buffer on disk, for one process and for all together."""

from __future__ import annotations

import pytest
from buffer_trials import (
    Options,
    Track,
    Until,
    down,
    figures,
    router,
)

from eventtracking_testkit.fakes import FailingBackend


@pytest.mark.parametrize(("when_full", "most"), [("drop_newest", 60), ("drop_oldest", 250)])
def test_a_full_buffer_does_not_measure_for_each_event(
    track: Track, disk: Options, until: Until, when_full: str, most: int
) -> None:
    """While it refuses or gives up 500 events, it asks the state a bounded number of times."""
    FailingBackend.actions[""] = down
    options = {
        **disk,
        "max_events": 1_000,
        "when_full": when_full,
        "retry_base_s": 60.0,
        "retry_max_s": 60.0,
    }
    tracker = track(options, p={"plugin": "fail"})
    for _ in range(1_000):
        tracker.emit("x")
    until(lambda: figures(tracker, "b/p"))
    asked: list[str] = []
    router(tracker)._engine._state.connection.set_trace_callback(asked.append)
    for _ in range(500):
        tracker.emit("x")
    router(tracker)._engine._state.connection.set_trace_callback(None)
    assert sum(statement.startswith("BEGIN") for statement in asked) < most
    assert figures(tracker)["failed"] >= 400


def test_the_byte_limit_counts_events_that_are_retried(
    track: Track, disk: Options, until: Until
) -> None:
    """Events whose delivery has failed take room as before: three more find none."""
    FailingBackend.actions[""] = down
    options = {**disk, "max_bytes": 20_000, "retry_base_s": 60.0, "retry_max_s": 60.0}
    tracker = track(options, p={"plugin": "fail"})
    for _ in range(3):
        tracker.emit("x", {"text": "a" * 5_000})
    until(lambda: router(tracker).status().failing)
    for _ in range(3):
        tracker.emit("x", {"text": "a" * 5_000})
    assert figures(tracker) == {"received": 6, "failed": 3, "pending": 3}


def test_a_limit_is_kept_by_all_processes_together(
    track: Track, disk: Options, until: Until
) -> None:
    """Each sees within a second or two the events that others have stored, before it has filled
    the buffer by itself.
    """
    FailingBackend.actions[""] = down
    first, second = (track({**disk, "max_events": 100}, p={"plugin": "fail"}) for _ in range(2))
    first.open()
    second.open()
    for _ in range(60):
        first.emit("x")
    second.emit("x")  # a process that stores nothing has no need to know
    until(lambda: router(second)._engine._capacity.left <= 39)
    for _ in range(60):
        second.emit("x")
    assert figures(first)["pending"] == 100
