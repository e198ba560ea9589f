"""Emits that happen inside the tree, on the thread that is in there already.

A signal handler or a destructor may emit while a backend of ours or of somebody else's holds a lock, and a backend's own
library may emit by accident. Going down the tree a second time could deadlock or recurse without end. So a thread
that is inside parks such emits, and the call that was interrupted sends them before it returns.
"""

from __future__ import annotations

from _thread import get_ident
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from eventtracking._route import Group
from eventtracking.counts import ENTER
from eventtracking.event import Event

__all__ = ["Guard"]

_MAX_PARKED_IN_A_ROW: Final = 1_000
"""After so many, something emits in answer to each emit, and only stops when it is no longer answered."""

Parked = deque[tuple[Group, Event]]


class Guard:
    """Who is inside the tree of one tracker, and what waits for them."""

    __slots__ = ("inside",)

    def __init__(self) -> None:
        self.inside: dict[int, Parked | None] = {}
        """Thread identity to parked events; made only when there are some. `Tracker.emit` works on it directly."""

    def park(self, thread: int, root: Group, event: Event) -> None:
        """Enter an event into the books, and leave it to the call that is inside on this thread."""
        fresh: Parked = deque()  # a signal may come in this call, and its handler park an event, too
        parked = self.inside[thread]
        if parked is None:
            parked = self.inside[thread] = fresh
        root.ledger.total += ENTER
        parked.append((root, event))

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Mark this thread as inside for the length of a block, then send what was parked."""
        thread = get_ident()
        if thread in self.inside:
            yield
            return
        self.inside[thread] = None
        try:
            yield
        finally:
            parked = self.inside.pop(thread, None)
            if parked:
                self.drain(thread, parked)

    def drain(self, thread: int, parked: Parked | None) -> None:
        """Send what was parked, one after the other, marked as inside again."""
        left = _MAX_PARKED_IN_A_ROW
        while parked:
            self.inside[thread] = None
            try:
                while parked:
                    root, event = parked.popleft()
                    left -= 1
                    root.send_entered(event) if left >= 0 else root.refuse_entered("emits answer emits without end")
            finally:
                more = self.inside.pop(thread, None)
                for root, _ in parked:  # only when a BaseException goes through
                    root.refuse_entered("interrupted")
            parked = more
