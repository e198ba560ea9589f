"""From a record of the journal to an event, or to what stands for one that cannot be read."""

from __future__ import annotations

from eventtracking import Event
from eventtracking_buffer import codec
from eventtracking_buffer.delivery.queued_event import QueuedEvent
from eventtracking_buffer.disk.journal.records import Record
from eventtracking_buffer.disk.recent import RecentEvents

__all__ = ["decode", "stub"]


def decode(
    file: str, record: Record, recent: RecentEvents | None = None
) -> QueuedEvent | codec.FormatError:
    """Return the event in a whole record, or why it cannot be read."""
    key = file, record.start
    try:
        event = (recent and recent.get(record.payload)) or codec.decode(record.payload)
    except codec.FormatError as error:
        return error
    return QueuedEvent(key, event, len(record.payload), record.stored_at)


def stub(file: str, start: int, record: Record, event_id: str = "") -> QueuedEvent:
    """Stand in for an event that this version cannot read; its bytes are kept as they are."""
    event = Event(id=event_id or f"unreadable:{file}:{start}", name="unreadable")
    item = QueuedEvent((file, start), event, len(record.payload), record.stored_at)
    item.raw = record.payload
    return item
