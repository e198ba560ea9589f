"""A help for tests: capture what the code under test emits, instead of sending it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from eventtracking import Event
from eventtracking.tracker import get_tracker, register_tracker
from eventtracking_django.tracker import DjangoTracker

__all__ = ["CaptureEventsMixin", "capture_events"]


class _CapturingTracker(DjangoTracker):
    """Keeps the events, and sends none."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[Event] = []

    def _send(self, event: Event) -> None:
        self.events.append(event)


@contextmanager
def capture_events() -> Iterator[Sequence[Event]]:
    """Capture the events that are emitted through the default tracker in a `with` block; nothing is delivered.

    With `on_commit`, an event appears when its transaction commits. Django's `TestCase` never commits: use its
    `captureOnCommitCallbacks(execute=True)`, or `TransactionTestCase`.
    """
    former = get_tracker()
    capturing = _CapturingTracker()
    register_tracker(capturing)
    try:
        yield capturing.events
    finally:
        register_tracker(former)
        capturing.close()


class CaptureEventsMixin:
    """For a Django test case: `self.events` holds what each test has emitted, and nothing of the tests before."""

    events: Sequence[Event]

    def setUp(self) -> None:
        """Begin to capture."""
        capturing = capture_events()
        self.events = capturing.__enter__()
        self.addCleanup(capturing.__exit__, None, None, None)  # type: ignore[attr-defined]  # the test case's
        super().setUp()  # type: ignore[misc]  # the test case's
