"""How much more a buffer on disk may hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from eventtracking_buffer._books import Balance
from eventtracking_buffer._clock import monotonic

__all__ = ["Room"]

_UNLIMITED: Final = 1 << 62
_FRESH_S: Final = 0.02


class Room:
    """The room that one process knows of.

    It is full where what this process has stored comes to a mark, which measuring moves.

    Args:
        limit: How many events may wait.
        limit_bytes: How many bytes of them may wait; None for any.
        look: Returns what waits, of all processes.
    """

    def __init__(self, limit: int, limit_bytes: int | None, look: Callable[[], Balance]) -> None:
        self.limit, self.limit_bytes = limit, limit_bytes
        self._look = look
        self._stored = self._stored_bytes = 0
        self._full_at = limit
        self._full_at_bytes = _UNLIMITED if limit_bytes is None else limit_bytes
        self._measured_at = 0.0

    @property
    def left(self) -> int:
        """How many more events may be stored; below zero when there are too many."""
        return self._full_at - self._stored

    @property
    def left_bytes(self) -> int:
        """How many more bytes may be stored; below zero when there are too many."""
        return self._full_at_bytes - self._stored_bytes

    def fits(self, count: int, size: int) -> bool:
        """Whether so many events of so many bytes together find room, by the last measuring."""
        return (
            self._stored + count <= self._full_at
            and self._stored_bytes + size <= self._full_at_bytes
        )

    def take(self, count: int, size: int) -> None:
        """Note that events were stored."""
        self._stored += count
        self._stored_bytes += size

    def measure(self) -> None:
        """Look how much room there is.

        What other processes store in the meantime is seen next time.

        What this one stores meanwhile may be counted twice, never not at all; the room is not fresh
        then.

        Raises:
            OSError, sqlite3.Error: If the medium refuses.
        """
        stored, stored_bytes = self._stored, self._stored_bytes
        waiting = self._look()
        self._full_at = stored + self.limit - waiting.pending
        if self.limit_bytes is not None:
            self._full_at_bytes = stored_bytes + self.limit_bytes - waiting.pending_bytes
        self._measured_at = monotonic() if self._stored == stored else 0.0

    @property
    def is_fresh(self) -> bool:
        """Whether it was measured just now."""
        return monotonic() - self._measured_at <= _FRESH_S
