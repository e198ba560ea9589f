"""The events on their way to one lane, and those of them that wait for another attempt."""

from __future__ import annotations

import heapq
import itertools
import time
from collections import deque
from collections.abc import Iterable
from typing import Any, Final

from eventtracking import Event

__all__ = ["QueuedEvent", "RetryQueue", "as_text"]

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


class RetryQueue:
    """Retries of one lane by due time. For the thread that drives the lane, but for `hand_over`."""

    def __init__(self) -> None:
        self.handed_over: deque[QueuedEvent] = deque()
        """Added by other threads, and not taken up yet."""
        self.heap: list[tuple[float, int, QueuedEvent]] = []
        """Due time, order and event."""
        self._order = itertools.count()
        self.bytes = 0
        """Of the events that wait for their time."""

    def __len__(self) -> int:
        return len(self.heap) + len(self.handed_over)

    def hand_over(self, items: Iterable[QueuedEvent]) -> None:
        """Add events to be tried at once, from any thread."""
        self.handed_over.extend(items)

    def add(self, items: Iterable[QueuedEvent], due: float) -> None:
        """Add events to be tried at a moment of the monotonic clock."""
        for item in items:
            heapq.heappush(self.heap, (due, next(self._order), item))
            self.bytes += item.size

    def accept(self, now: float) -> None:
        """Take up the events that were handed over."""
        while self.handed_over:
            self.add([self.handed_over.popleft()], now)

    @property
    def next_due(self) -> float | None:
        """When the next retry is due; None if there is none."""
        if self.handed_over:
            return 0.0
        return self.heap[0][0] if self.heap else None

    def pick(self, now: float, max_events: int, max_bytes: int) -> list[QueuedEvent]:
        """Take the next batch: events with different ids that go to the same leaves."""
        picked: list[QueuedEvent] = []
        ids: set[str] = set()
        total = 0
        while self.heap and len(picked) < max_events and total < max_bytes:
            due, _, item = self.heap[0]
            if due > now or (picked and not _go_together(item, picked[0], ids)):
                break
            heapq.heappop(self.heap)
            picked.append(item)
            ids.add(item.event.id)
            total += item.size
        self.bytes -= total
        return picked

    def clear(self) -> list[QueuedEvent]:
        """Let go of everything."""
        items = [item for _, _, item in self.heap] + list(self.handed_over)
        self.heap, self.bytes = [], 0
        self.handed_over.clear()
        return items


def _go_together(item: QueuedEvent, first: QueuedEvent, ids: set[str]) -> bool:
    return (
        item.attempted == first.attempted
        and item.leaves == first.leaves
        and item.event.id not in ids
    )
