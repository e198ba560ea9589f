"""How far one lane of a buffer on disk is."""

from __future__ import annotations

import attrs

from eventtracking_buffer.delivery.queue import QueuedEvent
from eventtracking_buffer.disk.journal.reader import JournalReader
from eventtracking_buffer.disk.state.transitions import Key

__all__ = ["LaneState"]


@attrs.define(eq=False)
class LaneState:
    """What the store knows of one lane."""

    leaves: tuple[str, ...]
    readers: dict[str, JournalReader] = attrs.field(factory=dict)
    taken: dict[Key, QueuedEvent] = attrs.field(factory=dict)
    """Read from the journal, in no report that is written, and without a row in the state."""
    stored: set[Key] = attrs.field(factory=set)
    """Not done on the lane, with a row in the state."""

    @property
    def open_files(self) -> set[str]:
        """The files with events that are not done."""
        return {file for file, _ in (*self.taken, *self.stored)}
