"""Emits that happen inside the tree, on the thread that is in there already.

A signal handler or a destructor may emit while a backend of ours or of somebody else's holds a
lock, and a backend's own library may emit by accident. Going down the tree a second time could
deadlock or recurse without end. So a thread that is inside parks such emits, and the call that was
interrupted sends them before it returns.
"""

from __future__ import annotations

from _thread import get_ident
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from eventtracking._pipeline.route import Group
from eventtracking.counts import ENTER, SETTLE, Outcome
from eventtracking.errors import describe_error
from eventtracking.event import Event

__all__ = ["Guard"]

_MAX_ANSWERS: Final = 1_000
"""Emits that answer emits that answer emits, so many times over, only stop when they are no longer
sent.
"""
_MAX_PARKED: Final = 100_000
"""Emits that are sent in a row, however they came about: a collection of garbage may bring
thousands at once.
"""
_FAILED: Final = Outcome.FAILED

Parked = deque[tuple[Group, Event]]


class Guard:
    """Who is inside the tree of one tracker, and what waits for them.

    An exception that a signal handler raises comes out at any call. So what is taken, counted and
    forgotten together is written without a call between.
    """

    __slots__ = ("_draining", "inside", "parked")

    def __init__(self) -> None:
        self.inside: dict[int, None] = {}
        """The threads, by their identity. `Tracker.emit` works on it, and on the next, directly."""
        self.parked: dict[int, Parked] = {}
        """What each thread is to send when it leaves; it enters the books of the routes then.

        A queue stays for good once it is there:
        somebody may be about to add to it."""
        self._draining: dict[int, object] = {}
        """Whose queues are being sent, and by which call: two would take the same event."""

    def park(self, thread: int, root: Group, event: Event) -> None:
        """Leave an event to the call that is inside on this thread."""
        self.parked.setdefault(thread, deque()).append((root, event))

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
            if thread in self.inside:  # not in a child that was forked inside
                del self.inside[thread]
            if self.parked.get(thread):
                self.drain(thread)

    def drain(self, thread: int) -> None:
        """Send what a thread has parked, one after the other, unless somebody does already."""
        mine = object()
        try:
            while self.parked.get(thread) and self._draining.setdefault(thread, mine) is mine:
                self._send_all(self.parked[thread])
                self._draining.pop(thread, None)  # and then one look more, for what came just now
        finally:
            if self._draining.get(thread) is mine:
                self._draining.pop(thread, None)

    def _send_all(self, parked: Parked) -> None:
        """Send events, each with this thread marked as inside again."""
        thread = get_ident()
        answers, left, sent = 0, 0, 0
        while parked:
            if not left:  # those before are sent: what is here now was emitted while they were
                answers, left = answers + 1, len(parked)
            left, sent = left - 1, sent + 1
            self.inside[thread] = None
            root, event = parked[0]
            ledger = root.ledger
            outcome = _FAILED
            ledger.total += ENTER
            del parked[0]
            try:
                if answers <= _MAX_ANSWERS and sent <= _MAX_PARKED:
                    outcome = root.route(event)
                else:
                    ledger.note(outcome, "emits answer emits without end")
            except Exception as error:  # noqa: BLE001 - the tree lets none through, but for exhausted memory or stack in itself
                with suppress(
                    Exception
                ):  # the stack may be exhausted, and the count is what matters
                    ledger.note(outcome, describe_error(error))
            finally:
                ledger.total += SETTLE[outcome]
                if thread in self.inside:
                    del self.inside[thread]

    @property
    def waiting(self) -> int:
        """How many events are parked."""
        return sum(map(len, list(self.parked.values())))

    def drain_all(self) -> None:
        """Send what threads have left behind that were interrupted before they could, and may never
        come again.
        """
        if get_ident() in self.inside:
            return
        for thread in [
            thread
            for thread, parked in list(self.parked.items())
            if parked and thread not in self.inside
        ]:
            self.drain(thread)

    def reset(self) -> None:
        """Start anew in a forked child: what other threads of the parent had parked is the
        parent's.
        """
        mine = self.parked.get(get_ident())
        self.inside.clear()
        self._draining.clear()
        self.parked.clear()
        if mine:
            self.parked[get_ident()] = mine
