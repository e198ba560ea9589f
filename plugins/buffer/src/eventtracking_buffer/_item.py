"""One event on its way to one leaf."""

from __future__ import annotations

import time
from typing import Any

from eventtracking import Event

__all__ = ["Item"]


class Item:
    """An event that a lane is to deliver. A lane that fails keeps it, with what is known of the failures."""

    __slots__ = ("attempts", "dead", "event", "first_at", "had", "key", "last_at", "reason", "size", "stored_at")

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

    def note_failure(self, reason: str) -> None:
        """Remember one more failed delivery."""
        self.last_at = time.time()
        self.first_at = self.first_at or self.last_at
        self.attempts += 1
        self.reason = reason
