"""Events that this process stored a moment ago: delivering them needs no decoding."""

from __future__ import annotations

from typing import Final

from eventtracking import Event

__all__ = ["RecentEvents"]

_MAX_BYTES: Final = 16_000_000
_EVENT_BYTES: Final = 1_000
_OBJECTS: Final = 4
"""Objects take about so many times the bytes of their stored form."""


class RecentEvents:
    """Remembers events by their stored bytes, so that a wrong one is never found.

    Two generations: when the young one has half of the bytes it becomes the old one, and the old
    one is forgotten. Each step is one assignment, safe on any thread and in a signal handler.

    Args:
        once: Whether an event is asked for once, and forgotten then.
    """

    def __init__(self, once: bool, max_bytes: int = _MAX_BYTES) -> None:
        self._once = once
        self._max_bytes = max_bytes // 2
        self._young: dict[bytes, Event] = {}
        self._old: dict[bytes, Event] = {}
        self._young_bytes = 0

    def put(self, payload: bytes, event: Event) -> None:
        """Remember an event that decoding its bytes would give."""
        size = _EVENT_BYTES + _OBJECTS * len(payload)
        if size > self._max_bytes:
            return
        if self._young_bytes + size > self._max_bytes:
            self._old, self._young, self._young_bytes = self._young, {}, 0
        self._young_bytes += size
        self._young[payload] = event

    def get(self, payload: bytes) -> Event | None:
        """Return the event of these bytes, if it is remembered."""
        if self._once:
            return self._young.pop(payload, None) or self._old.pop(payload, None)
        return self._young.get(payload) or self._old.get(payload)

    def clear(self) -> None:
        """Forget all of them."""
        self._young, self._old, self._young_bytes = {}, {}, 0
