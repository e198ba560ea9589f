"""The buffer in memory: quick, bounded, and gone with the process."""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import attrs
import msgspec

from eventtracking import Counts, Event, Outcome
from eventtracking.counts import ENTER, SETTLE, Ledger
from eventtracking.protocols import Downstream
from eventtracking_buffer import codec
from eventtracking_buffer._item import Item
from eventtracking_buffer._lane import Report
from eventtracking_buffer.dead_letters import DeadLetter, Selection

__all__ = ["MemoryStore"]

_encode = msgspec.msgpack.Encoder().encode
_LOOKS: Final = 50


@attrs.define(eq=False)
class _Grave:
    """A dead letter and what became of its event as a whole."""

    letter: DeadLetter
    item: Item
    own: Outcome | None = None
    """None while the event is still pending at a sibling."""


class MemoryStore:
    """Holds the events of one buffer in one process, and its dead letters.

    `put` may be interrupted by anything and called from any thread: it takes no lock, and each of its steps is one
    operation that CPython does not divide. Lanes call the rest, each for its own leaf.

    Args:
        max_dead_letters: How many are kept; older ones are failed.
        measured: Whether `put` is told the size of each event, because a limit asks for it.
    """

    def __init__(self, downstream: Downstream, max_dead_letters: int, measured: bool) -> None:
        self.downstream = downstream
        self.ledger = Ledger()
        self.bytes = 0
        self._measured = measured
        self.held: dict[int, Item] = {}
        self._keys = itertools.count(1)
        self._owners: dict[str, int] = {}
        self.queues: dict[str, deque[Item]] = {leaf: deque() for leaf in downstream.leaves}
        self._each_queue = tuple(self.queues.values())
        self._max_dead_letters = max_dead_letters
        self._graves: dict[int, _Grave] = {}

    def __len__(self) -> int:
        """How many events are unfinished."""
        return len(self.held)

    # Taking events over

    def put(self, event: Event, size: int) -> None:
        """Take an event over."""
        item = Item(next(self._keys), event, size, time.time())
        self.held[item.key] = item
        self.ledger.total += ENTER
        if size:
            self.bytes += size
        for queue in self._each_queue:
            queue.append(item)

    @staticmethod
    def size_of(event: Event) -> int:
        """Return about how many bytes an event takes when it is encoded."""
        try:
            return len(_encode((event.name, event.context, event.data, event.extra))) + 64
        except Exception:  # noqa: BLE001 - the slow way copes with all that the fast one refuses
            return len(codec.encode(event))

    def drop_oldest(self, reason: str) -> bool:
        """Fail the oldest event that is on nobody's way; return whether there was one."""
        leaf, queue = max(self.queues.items(), key=lambda pair: len(pair[1]))
        try:
            item = queue.popleft()
        except IndexError:
            return False
        self._fail(leaf, [item], reason)
        return True

    def _fail(self, leaf: str, items: Sequence[Item], reason: str) -> None:
        finished = self.downstream.settle(leaf, [item.event.id for item in items], Outcome.FAILED, reason)
        self.ledger.note(Outcome.FAILED, reason, len(items))
        self._finish(items, finished)

    # For the lanes

    def waiting(self, leaf: str) -> int:
        """Return how many events wait for their first delivery to a leaf."""
        return len(self.queues[leaf])

    def take(self, leaf: str, max_events: int, max_bytes: int) -> list[Item]:
        """Take the next events for a leaf."""
        queue, total = self.queues[leaf], 0
        taken: list[Item] = []
        shared = len(self.queues) > 1
        while len(taken) < max_events:
            try:
                item = queue.popleft()
            except IndexError:
                break
            item.size = item.size or self.size_of(item.event)
            if taken and total + item.size > max_bytes:
                queue.appendleft(item)
                break
            total += item.size
            taken.append(Item(item.key, item.event, item.size, item.stored_at) if shared else item)
        return taken

    def claim(self, item: Item) -> bool:
        """Say whether no other event with the item's id is unfinished."""
        return bool(self._owners.setdefault(item.event.id, item.key) == item.key)

    def report(self, report: Report) -> None:
        """Write down what became of a batch."""
        for item in report.done:
            if item.dead is not None:
                self._graves.pop(item.dead.letter.number, None)
        for item in report.dead:
            self._bury(report.leaf, item)
        self._finish([*report.done, *report.dead], report.finished)

    def _finish(self, items: Iterable[Item], finished: dict[str, Outcome]) -> None:
        for item in items:
            outcome = finished.get(item.event.id)
            if outcome is None or self.held.pop(item.key, None) is None:
                continue
            self.ledger.total += SETTLE[outcome]
            if self._measured:
                self.bytes -= item.size
            if self._owners.get(item.event.id) == item.key:
                del self._owners[item.event.id]
            for grave in self._graves_of(item.event.id) if self._graves else ():
                grave.own = outcome

    # Dead letters

    def _graves_of(self, event_id: str) -> list[_Grave]:
        return [grave for grave in list(self._graves.values()) if grave.letter.event.id == event_id]

    def _bury(self, leaf: str, item: Item) -> None:
        if item.dead is not None:  # a replay that failed changes nothing
            item.dead.letter = attrs.evolve(item.dead.letter, replaying=False)
            return
        letter = DeadLetter(
            number=item.key * len(self.queues) + list(self.queues).index(leaf),
            route=leaf,
            event=item.event,
            reason=item.reason,
            attempts=item.attempts,
            first_at=item.first_at,
            last_at=item.last_at,
        )
        self._graves[letter.number] = _Grave(letter, item)
        while len(self._graves) > self._max_dead_letters:
            self._fail_grave(next(iter(self._graves.values())), "too many dead letters")

    def _fail_grave(self, grave: _Grave, reason: str) -> None:
        self._graves.pop(grave.letter.number, None)
        self._reopen(grave)
        self._fail(grave.letter.route, [grave.item], reason)

    def _reopen(self, grave: _Grave) -> None:
        """Move an event back to pending, at its leaf and, if it was finished, here."""
        event_id = grave.letter.event.id
        if grave.own is not None:
            dead = {other.letter.route: Outcome.DEAD_LETTERED for other in self._graves_of(event_id)}
            rest = dict.fromkeys(self.downstream.leaves, Outcome.DELIVERED)
            self.downstream.adopt(
                {event_id: {**rest, **dead, grave.letter.route: Outcome.DEAD_LETTERED}}, received=False
            )
            self.held[grave.item.key] = grave.item
            if self._measured:
                self.bytes += grave.item.size
            self.ledger.move(grave.own, Outcome.PENDING)
            grave.own = None
        self.downstream.reopen(grave.letter.route, [event_id])

    def letters(self, selection: Selection) -> list[DeadLetter]:
        """Return the dead letters that are meant, oldest first."""
        return [grave.letter for grave in list(self._graves.values()) if selection.matches(grave.letter)]

    def replay(self, selection: Selection, retry: Callable[[str, Sequence[Item]], Any]) -> int:
        """Deliver dead letters once more. Each stays one until it is delivered. Return how many there are."""
        graves = [self._graves[letter.number] for letter in self.letters(selection) if not letter.replaying]
        for grave in graves:
            self._reopen(grave)
            grave.letter = attrs.evolve(grave.letter, replaying=True)
            old = grave.item
            item = grave.item = Item(old.key, old.event, old.size, old.stored_at)
            item.had, item.dead = True, grave
            retry(grave.letter.route, [item])
        return len(graves)

    def purge(self, selection: Selection) -> int:
        """Give dead letters up: they count as failed. Return how many there were."""
        graves = [self._graves[letter.number] for letter in self.letters(selection) if not letter.replaying]
        for grave in graves:
            self._fail_grave(grave, "purged")
        return len(graves)

    # The end, and the books

    def give_up(self, leaf: str, items: Sequence[Item], reason: str) -> int:
        """Fail what waits for a leaf, and some items of its lane. Return how many there were."""
        waiting = [*items, *self.take(leaf, len(self.queues[leaf]), 1 << 62)]
        self._fail(leaf, waiting, reason)
        return len(waiting)

    def counts(self) -> Counts:
        """Read the books, with what is pending as it stands in the store."""
        for _ in range(_LOOKS):
            counts, held = self.ledger.counts(), len(self.held)
            if counts.pending == held:
                return counts
            time.sleep(0)  # another thread is between two steps of one event
        return attrs.evolve(counts, pending=held)
