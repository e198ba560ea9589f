"""Emits that happen inside the tree, on the thread that is in there already.

A signal handler or a destructor may emit while a backend holds a lock, and a backend's own library
may emit by accident. Entering the tree a second time could deadlock or recurse without end. So such
emits are parked, and the call that they interrupted sends them before it returns.
"""

from __future__ import annotations

from _thread import get_ident
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from eventtracking._pipeline.route import Group, Parked
from eventtracking.counts import Outcome
from eventtracking.event import Event

__all__ = ["Reentrancy"]

_MAX_CASCADE: Final = 1_000
"""Events emitted while handling events can cascade forever. Past this depth they count as failed.
"""
_MAX_PARKED: Final = 100_000
"""Parked events sent in a row: garbage collection may bring thousands at once."""
_FAILED: Final = Outcome.FAILED


class Reentrancy:
    """The threads inside the tree of one tracker, and the emits parked for them.

    A signal handler may raise at any call. So steps that belong together stand without a call
    between them.
    """

    __slots__ = ("_draining", "inside", "parked")

    def __init__(self) -> None:
        self.inside: dict[int, None] = {}
        """The threads inside, by identity. `Tracker` works on it and on `parked` directly."""
        self.parked: dict[int, Parked] = {}
        """Each thread's parked events; they enter the counts when they are sent.

        A queue stays once it is there: an interrupted call may be about to add to it."""
        self._draining: dict[int, object] = {}
        """The call that sends a thread's queue: two would take the same event."""

    def park(self, thread: int, root: Group, event: Event) -> None:
        """Leave an event to the call that is inside on this thread."""
        self.parked.setdefault(thread, deque()).append((root, event))

    def run(self, action: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function with this thread marked as inside, then send the parked events.

        No context manager: a signal handler's exception at the call of `__exit__` would leave the
        mark, and every later emit of the thread would be parked.
        """
        thread = get_ident()
        if thread in self.inside:
            return action(*arguments)
        self.inside[thread] = None
        try:
            return action(*arguments)
        finally:
            if thread in self.inside:  # not in a child that was forked inside
                del self.inside[thread]
            if self.parked.get(thread):
                self.drain(thread)

    def drain(self, thread: int) -> None:
        """Send a thread's parked events one by one, unless another call does so already."""
        mine = object()
        try:
            self._drain(thread, mine)
        finally:
            if self._draining.get(thread) is mine:
                self._draining.pop(thread, None)

    def _drain(self, thread: int, mine: object) -> None:
        while self.parked.get(thread) and self._draining.setdefault(thread, mine) is mine:
            self._send_all(self.parked[thread])
            self._draining.pop(thread, None)  # then look once more, for an emit just now

    def _send_all(self, parked: Parked) -> None:
        """Send events, each with this thread marked as inside again."""
        thread = get_ident()
        depth, left, sent = 0, 0, 0
        while parked:
            if not left:  # those before are sent: the events here now were emitted meanwhile
                depth, left = depth + 1, len(parked)
            left, sent = left - 1, sent + 1
            root, event = parked[0]
            if depth > _MAX_CASCADE or sent > _MAX_PARKED:
                self._fail(root, parked)
                continue
            self.inside[thread] = None
            try:
                root.emit(event, parked)
            finally:
                if thread in self.inside:
                    del self.inside[thread]

    @staticmethod
    def _fail(root: Group, parked: Parked) -> None:
        root.ledger.total += _FAILED.record
        del parked[0]
        with suppress(Exception):  # the count is there; the reason is worth no exception
            root.ledger.note(_FAILED, "emits answer emits without end")

    @property
    def waiting(self) -> int:
        """The number of parked events."""
        return sum(map(len, list(self.parked.values())))

    def drain_all(self) -> None:
        """Send the events that interrupted threads left behind, which may never come again."""
        if get_ident() in self.inside:
            return
        for thread, parked in list(self.parked.items()):
            if parked and thread not in self.inside:
                self.drain(thread)

    def reset(self) -> None:
        """Start anew in a forked child: the parked events of other threads are the parent's."""
        mine = self.parked.get(get_ident())
        self.inside.clear()
        self._draining.clear()
        self.parked.clear()
        if mine:
            self.parked[get_ident()] = mine
