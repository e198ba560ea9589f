"""A help for tests: capture what the code under test emits, instead of sending it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from eventtracking import Event, Tracker
from eventtracking.tracker import get_tracker, register_tracker
from eventtracking_django import conf
from eventtracking_django.tracker import StandIn

__all__ = ["CaptureEventsMixin", "capture_events"]


class _CapturingTracker(StandIn):
    """Keeps the events, and sends none."""

    def __init__(self, stands_for: Tracker) -> None:
        super().__init__(stands_for)
        self.events: list[Event] = []
        self._enabled_at_first = conf.is_enabled()

    def _emit_now(self, name: Any, data: Any = None) -> None:
        event = self._capture(name, data)
        if event is not None:
            self._keep(event)

    def submit(self, event: Event, *, as_written: bool = False) -> None:  # noqa: ARG002 - kept as it is
        """Keep an event that exists already."""
        self._keep(event)

    def _send(self, event: Event) -> None:
        self._keep(event)  # its transaction has committed

    def _keep(self, event: Event) -> None:
        # A test may want its events where the settings of all tests have tracking disabled.
        if conf.is_enabled() or not self._enabled_at_first:
            self.events.append(event)


@contextmanager
def capture_events() -> Iterator[Sequence[Event]]:
    """Capture the events that are emitted through the default tracker in a `with` block; nothing is
    delivered.

    With `on_commit`, an event appears when its transaction commits. Django's `TestCase` never
    commits: use its `captureOnCommitCallbacks(execute=True)`, or `TransactionTestCase`. With
    `override_settings` inside the block, it goes on capturing, and captures nothing while
    `EVENT_TRACKING_ENABLED` is overridden with False.
    """
    capturing = _CapturingTracker(get_tracker())
    register_tracker(capturing)
    try:
        yield capturing.events
    finally:
        register_tracker(capturing.stands_for)
        capturing.close()


class CaptureEventsMixin:
    """For a Django test case: `self.events` holds what each test has emitted, and nothing of the
    tests before.
    """

    events: Sequence[Event]

    def setUp(self) -> None:
        """Begin to capture."""
        capturing = capture_events()
        self.events = capturing.__enter__()
        self.addCleanup(capturing.__exit__, None, None, None)  # type: ignore[attr-defined]  # the test case's
        super().setUp()  # type: ignore[misc]  # the test case's
