"""The events that one look into the journal finds for a lane."""

from __future__ import annotations

from collections.abc import Callable

from eventtracking_buffer import codec
from eventtracking_buffer.delivery.queued_event import QueuedEvent
from eventtracking_buffer.disk.journal.decoding import decode, stub
from eventtracking_buffer.disk.journal.records import Record
from eventtracking_buffer.disk.recent import RecentEvents

__all__ = ["Found"]


class Found:
    """What one `take` has found in the journal."""

    def __init__(self, max_events: int, max_bytes: int, recent: RecentEvents) -> None:
        self.items: list[QueuedEvent] = []
        self.lost: list[QueuedEvent] = []
        """Damaged."""
        self.later: list[QueuedEvent] = []
        """In the form of a later version."""
        self._max_events, self._left_bytes = max_events, max_bytes
        self._recent = recent

    def has_room(self, size: int) -> bool:
        """Whether one more record of a size fits; the first always does."""
        count = len(self.items) + len(self.lost) + len(self.later)
        return count < self._max_events and (not count or size <= self._left_bytes)

    def add(
        self,
        file: str,
        record: Record,
        set_aside: Callable[[str, Record, codec.FormatError], None],
    ) -> None:
        """Take the event in a whole record."""
        self._left_bytes -= record.end - record.start
        item = decode(file, record, self._recent)
        if isinstance(item, QueuedEvent):
            self.items.append(item)
        elif item.version is not None and item.version > codec.VERSION:
            self.later.append(stub(file, record.start, record))
        else:
            set_aside(file, record, item)
            self.lost.append(stub(file, record.start, record))

    @property
    def all(self) -> list[QueuedEvent]:
        """All of them."""
        return [*self.items, *self.lost, *self.later]
