"""Events that wait for another attempt of one lane, and the choice of the next batch."""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Iterable

from eventtracking_buffer.delivery.queued_event import QueuedEvent

__all__ = ["RetryQueue"]


class RetryQueue:
    """Retries of one lane by due time. For the thread that drives the lane, but for `hand_over`."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, QueuedEvent]] = []
        self._handed_over: deque[QueuedEvent] = deque()
        self._order = itertools.count()
        self.bytes = 0
        """Of the events that wait for their time."""

    def __len__(self) -> int:
        return len(self._heap) + len(self._handed_over)

    def hand_over(self, items: Iterable[QueuedEvent]) -> None:
        """Add events to be tried at once, from any thread."""
        self._handed_over.extend(items)

    def add(self, items: Iterable[QueuedEvent], due: float) -> None:
        """Add events to be tried at a moment of the monotonic clock."""
        for item in items:
            heapq.heappush(self._heap, (due, next(self._order), item))
            self.bytes += item.size

    def accept(self, now: float) -> None:
        """Take up the events that were handed over."""
        while self._handed_over:
            self.add([self._handed_over.popleft()], now)

    @property
    def next_due(self) -> float | None:
        """When the next retry is due; None if there is none."""
        if self._handed_over:
            return 0.0
        return self._heap[0][0] if self._heap else None

    def pick(self, now: float, max_events: int, max_bytes: int) -> list[QueuedEvent]:
        """Take the next batch: events with different ids that go to the same leaves."""
        picked: list[QueuedEvent] = []
        ids: set[str] = set()
        total = 0
        while self._heap and len(picked) < max_events and total < max_bytes:
            due, _, item = self._heap[0]
            if due > now or (picked and not _go_together(item, picked[0], ids)):
                break
            heapq.heappop(self._heap)
            picked.append(item)
            ids.add(item.event.id)
            total += item.size
        self.bytes -= total
        return picked

    def clear(self) -> list[QueuedEvent]:
        """Let go of everything."""
        items = [item for _, _, item in self._heap] + list(self._handed_over)
        self._heap, self.bytes = [], 0
        self._handed_over.clear()
        return items


def _go_together(item: QueuedEvent, first: QueuedEvent, ids: set[str]) -> bool:
    return (
        item.attempted == first.attempted
        and item.leaves == first.leaves
        and item.event.id not in ids
    )
