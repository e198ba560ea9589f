"""One event on its way to one lane."""

from __future__ import annotations

import time
from typing import Any, Final

from eventtracking import Event

__all__ = ["QueuedEvent"]

_MAX_REASON_CHARACTERS: Final = 1_000


class QueuedEvent:
    """An event that a lane is to deliver, with the failures so far."""

    __slots__ = (
        "attempted",
        "attempts",
        "event",
        "first_at",
        "key",
        "last_at",
        "leaves",
        "letter",
        "paused",
        "raw",
        "reason",
        "size",
        "stored_at",
    )

    def __init__(self, key: Any, event: Event, size: int, stored_at: float) -> None:
        self.key = key
        """Where it is stored; only the store reads it."""
        self.event = event
        self.size = size
        """Its size in bytes, as far as a batch is concerned."""
        self.stored_at = stored_at
        """When the buffer took it, in seconds since 1970."""
        self.leaves: tuple[str, ...] | None = None
        """The leaves of the lane that still wait for it; None: all of them."""
        self.attempts = 0
        """Failed deliveries."""
        self.attempted = False
        """Whether the lane has had it: the next delivery is a retry."""
        self.paused = False
        """Whether the destination asked for a pause the last time."""
        self.first_at = 0.0
        """When it failed for the first time, in seconds since 1970."""
        self.last_at = 0.0
        self.reason = ""
        self.raw: bytes | None = None
        """Its stored form, where this version cannot read it."""
        self.letter: int | None = None
        """The number of the dead letter that is being replayed, if this is one."""

    def note_failure(self, reason: object) -> None:
        """Count one more failed delivery, and keep the reason as text that any store takes."""
        self.last_at = time.time()
        self.first_at = self.first_at or self.last_at
        self.attempts += 1
        self.reason = as_text(reason)


def as_text(reason: object) -> str:
    """Return bounded text without lone surrogates: a backend may give anything as a reason."""
    try:
        text = reason if type(reason) is str else str(reason)
    except Exception:  # noqa: BLE001 - a foreign class
        text = f"a reason of the type {type(reason).__name__}"
    return text[:_MAX_REASON_CHARACTERS].encode("utf-8", "backslashreplace").decode()
