"""The events that a test's code emits through the default tracker."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, Final

import attrs

from eventtracking import Event, Tracker, tracker

__all__ = ["CAPTURING", "CapturedEvents", "CapturingBackend", "capture"]

CAPTURING: Final = "testkit_capturing"
_keys = itertools.count()


class CapturedEvents(list[Event]):
    """Events in the order of their emission."""

    @property
    def names(self) -> list[str]:
        """Their names, in order."""
        return [event.name for event in self]

    def named(self, name: str) -> CapturedEvents:
        """Return those of one name."""
        return CapturedEvents(event for event in self if event.name == name)


@attrs.define(eq=False)
class CapturingBackend:
    """Append each event to the list of its key."""

    key: str = attrs.field(metadata={"help": "Whose list."})

    captured: ClassVar[dict[str, CapturedEvents]] = {}

    def send(self, events: Sequence[Event]) -> None:
        """Append the events."""
        self.captured[self.key].extend(events)


@contextmanager
def capture(folder: Path) -> Iterator[CapturedEvents]:
    """Configure the default tracker, the same object, so that it captures.

    Args:
        folder: Where the distribution with the backend is.
    """
    key = str(next(_keys))
    captured = CapturingBackend.captured[key] = CapturedEvents()
    default = tracker.get_tracker()
    Tracker.__init__(default)  # the config that it had stays open, and is put back after the test
    sys.path.insert(0, str(folder))
    try:
        default.configure({"backends": {"captured": {"plugin": CAPTURING, "key": key}}})
    finally:
        sys.path.remove(str(folder))
    try:
        yield captured
    finally:
        del CapturingBackend.captured[key]
