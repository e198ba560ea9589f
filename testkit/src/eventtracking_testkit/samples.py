"""Events to test with: the kinds of data that have broken backends before."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import date, datetime, timezone
from typing import Any, Final

from eventtracking import Event

__all__ = ["SAMPLE_DATA", "sample_event", "sample_events"]

_MOMENT: Final = datetime(2026, 3, 29, 1, 59, 59, 250_000, tzinfo=timezone.utc)
"""Whole milliseconds: some stores keep no more."""

SAMPLE_DATA: Final[Mapping[str, dict[str, Any]]] = {
    "empty": {},
    "plain": {
        "course_id": "course-v1:Demo+X+2026",
        "score": 0.5,
        "attempts": 3,
        "passed": True,
        "note": None,
    },
    "nested": {
        "page": {"path": ["a", {"b": [1, [2, [3, {}]]]}], "size": {"w": 1, "h": 2}},
        "empty": [{}, []],
    },
    "non-ASCII": {
        "título": "naïve café",
        "日本": "東京 😀",
        "rtl": "שלום",
        "control": "tab\tnew\nline\x00null",
    },
    "awkward keys": {"a.b": 1, "$set": 2, "": 3, "_id": 4, "with space": 5, "id": 6, "name": 7},
    "datetime": {"at": _MOMENT, "day": date(2026, 2, 28), "times": [_MOMENT]},
    "UUID": {"user": uuid.UUID("0190d7b6-6f3a-7cc3-98c4-dc0c0c07398f")},
    "bytes": {"raw": b"\x00\xff\xfe bytes", "none": b""},
    "numbers": {"big": 2**53, "negative": -(2**40), "tiny": 1e-300, "zero": 0.0},
    "long text": {"text": "lorem ipsum " * 5_000},
    "many keys": {f"key_{number}": number for number in range(500)},
}
"""Data by kind, in the types that `Event.data` may hold. Never change it."""


def sample_event(kind: str = "plain", name: str = "testkit.sample.event", **changes: Any) -> Event:
    """Make an event with a new id, a context, and sample data.

    Args:
        kind: A key of `SAMPLE_DATA`.
        name: The event's name.
        changes: Other fields of the event.
    """
    fields = {
        "data": dict(SAMPLE_DATA[kind]),
        "context": {"user_id": 10938, "session": "déjà"},
        "timestamp": _MOMENT,
    }
    return Event(name=name, **{**fields, **changes})


def sample_events(count: int, **changes: Any) -> list[Event]:
    """Make that many small events, numbered in their data."""
    return [sample_event(data={"number": number}, **changes) for number in range(count)]
