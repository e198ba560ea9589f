"""How much more a buffer on disk may hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from eventtracking_buffer.delivery.clock import monotonic
from eventtracking_buffer.disk.state.counts_reader import Balance

__all__ = ["Capacity"]

_FRESH_S: Final = 0.02


class Capacity:
    """The room that one process knows of.

    It is full where what this process has stored comes to a mark, which measuring moves.

    Args:
        limit: How many events may wait.
        limit_bytes: How many bytes of them may wait.
        look: Returns what waits, of all processes.
    """

    def __init__(self, limit: int, limit_bytes: int, look: Callable[[], Balance]) -> None:
        self.limit, self.limit_bytes = limit, limit_bytes
        self._look = look
        self._stored = self._stored_bytes = 0
        self._full_at = limit
        self._full_at_bytes = limit_bytes
        self._measured_at: float | None = None
        self._spared = self._spared_bytes = 0

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
        # A backlog that was there before this limit stays, and shrinks into it.
        first = self._measured_at is None
        size = waiting.pending_bytes
        if first:
            self._spared, self._spared_bytes = waiting.pending - stored, size - stored_bytes
        self._spared = min(self._spared, waiting.pending)
        self._spared_bytes = min(self._spared_bytes, size)
        self._full_at = stored + max(self.limit, self._spared) - waiting.pending
        self._full_at_bytes = stored_bytes + max(self.limit_bytes, self._spared_bytes) - size
        self._measured_at = monotonic() if self._stored == stored else 0.0

    @property
    def is_fresh(self) -> bool:
        """Whether it was measured just now."""
        return monotonic() - (self._measured_at or 0.0) <= _FRESH_S
