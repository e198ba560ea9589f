"""One event on its way to one leaf."""

from __future__ import annotations

import time
from typing import Any, Final

from eventtracking import Event

__all__ = ["Item"]

_MAX_REASON_CHARACTERS: Final = 1_000


class Item:
    """An event that a lane is to deliver.

    A lane that fails keeps it, with what is known of the failures.
    """

    __slots__ = (
        "attempts",
        "dead",
        "event",
        "first_at",
        "had",
        "key",
        "last_at",
        "reason",
        "size",
        "stored_at",
    )

    def __init__(self, key: Any, event: Event, size: int, stored_at: float) -> None:
        self.key = key
        """Where it is stored; the store's own affair."""
        self.event = event
        self.size = size
        """Its size in bytes, as far as a batch is concerned."""
        self.stored_at = stored_at
        """When the buffer took it, in seconds since 1970."""
        self.attempts = 0
        """How often its delivery failed."""
        self.had = False
        """Whether the leaf has had it: the next delivery is a retry."""
        self.first_at = 0.0
        """When it failed for the first time, in seconds since 1970."""
        self.last_at = 0.0
        self.reason = ""
        self.dead: Any = None
        """The dead letter that is being replayed, if this is one."""

    def note_failure(self, reason: object) -> None:
        """Remember one more failed delivery.

        A backend may give anything for the reason; it is stored as text.
        """
        self.last_at = time.time()
        self.first_at = self.first_at or self.last_at
        self.attempts += 1
        self.reason = _as_text(reason)


def _as_text(reason: object) -> str:
    """Return bounded text that any store takes: lone surrogates are none."""
    try:
        text = reason if type(reason) is str else str(reason)
    except Exception:  # noqa: BLE001 - a foreign class
        text = f"a reason of the type {type(reason).__name__}"
    return text[:_MAX_REASON_CHARACTERS].encode("utf-8", "backslashreplace").decode()
