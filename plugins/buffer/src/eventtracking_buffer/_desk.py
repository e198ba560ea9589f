"""What the store on disk knows of one leaf's lane, and what stands in for an event that cannot be
read.
"""

from __future__ import annotations

import attrs

from eventtracking import Event
from eventtracking_buffer._item import Item
from eventtracking_buffer._journal import JournalReader
from eventtracking_buffer._records import Record
from eventtracking_buffer._reports import Key

__all__ = ["Desk", "peek", "stub", "unknown_id"]


@attrs.define(eq=False)
class Desk:
    """What the store knows of one leaf's lane."""

    readers: dict[str, JournalReader] = attrs.field(factory=dict)
    unstored: dict[Key, Item] = attrs.field(factory=dict)
    """Taken from the journal, not final at the leaf, and without a row of its own."""
    stored: set[Key] = attrs.field(factory=set)
    """Not final at the leaf, with a row of its own."""
    replaying: set[Key] = attrs.field(factory=set)
    """Dead letters that are being delivered again."""

    def is_pending(self, key: Key) -> bool:
        """Whether an event is on the lane, and what became of it is not written down yet."""
        return key in self.unstored or key in self.stored or key in self.replaying

    def is_due(self, key: Key) -> bool:
        """Whether an event is on the lane, or still to be read."""
        reader = self.readers.get(key[0])
        return self.is_pending(key) or (reader is not None and key[1] >= reader.offset)


def stub(key: Key, event_id: str, stored_at: float) -> Item:
    """Stand in for an event that cannot be read."""
    return Item(key, Event(id=event_id, name=""), 0, stored_at)


def unknown_id(key: Key) -> str:
    """Return an id for an event whose own cannot be read."""
    return f"unreadable:{key[0]}:{key[1]}"


def peek(reader: JournalReader) -> Record | None:
    """Return the next record, if it can be read."""
    try:
        return reader.peek()
    except OSError:
        return None
