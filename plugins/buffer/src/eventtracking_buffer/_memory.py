"""The buffer in memory: quick, bounded, and gone with the process."""

from __future__ import annotations

import itertools
import threading
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
_MAX_ENDED: Final = 10_000


@attrs.define(eq=False)
class _Fate:
    """What became of an event that has dead letters."""

    own: Outcome | None = None
    """As a whole; None while it is still pending, or again."""
    leaves: dict[str, Outcome] = attrs.field(factory=dict)
    """Where it is a dead letter, and where one was given up."""


@attrs.define(eq=False)
class _Grave:
    """A dead letter."""

    letter: DeadLetter
    item: Item
    fate: _Fate

    @property
    def key(self) -> int:
        """Which event it is; others may have the same id."""
        return int(self.item.key)


class MemoryStore:
    """Holds the events of one buffer in one process, and its dead letters.

    `put` may be interrupted by anything and called from any thread: it takes no lock, and each of
    its steps is one operation that CPython does not divide. Lanes call the rest, each for its own
    leaf.

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
        self._fates: dict[int, _Fate] = {}
        self._ended: dict[int, Outcome] = {}
        """What became of events that may still get a dead letter, from a sibling whose report is to
        come.
        """
        self._wishes: dict[int, str] = {}
        """The dead letters to be replayed (""), or given up for a reason, when no other event of
        the id is unfinished.
        """
        self._serving = threading.RLock()
        self._retry: Callable[[str, Sequence[Item]], Any] | None = None

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
        skipped: list[Item] = []
        try:
            while True:
                item = queue.popleft()
                if self.claim(item):
                    self._fail(leaf, [item], reason)
                    return True
                skipped.append(item)  # one of its id is on the way
        except IndexError:
            return False
        finally:
            queue.extendleft(reversed(skipped))

    def _fail(self, leaf: str, items: Sequence[Item], reason: str) -> None:
        if not items:
            return
        finished = self.downstream.settle(
            leaf, [item.event.id for item in items], Outcome.FAILED, reason
        )
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
                self._remove(item.dead, None)
        for item in report.dead:
            self._bury(report.leaf, item)
        self._finish([*report.done, *report.dead], report.finished)
        if self._wishes:
            self._serve()

    def _finish(self, items: Iterable[Item], finished: dict[str, Outcome]) -> None:
        for item in items:
            outcome = finished.get(item.event.id)
            if outcome is None or self.held.pop(item.key, None) is None:
                continue
            self.ledger.total += SETTLE[outcome]
            if self._measured:
                self.bytes -= item.size
            if outcome >= Outcome.DEAD_LETTERED:
                self._note_end(item.key, outcome)
            if self._owners.get(item.event.id) == item.key:
                del self._owners[item.event.id]

    def _note_end(self, key: int, outcome: Outcome) -> None:
        """Remember what became of an event, for its dead letters, before and after they
        are there.
        """
        self._ended[key] = outcome
        self._take_end(key)
        while len(self._ended) > _MAX_ENDED:
            self._ended.pop(next(iter(self._ended)), None)

    def _take_end(self, key: int) -> None:
        fate = self._fates.get(key)
        if (
            fate is not None
            # looked for after it was noted, and made before it is looked for: one of two threads
            # sees it
        ):
            fate.own = self._ended.pop(key, fate.own)

    # Dead letters

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
        fate = self._fates.setdefault(item.key, _Fate())
        fate.leaves[leaf] = Outcome.DEAD_LETTERED
        self._take_end(item.key)
        self._graves[letter.number] = _Grave(letter, item, fate)
        while len(self._graves) > self._max_dead_letters:
            with self._serving:
                oldest = self._oldest()
                if oldest is None:
                    break
                self._give_up_grave(oldest, "too many dead letters")

    def _oldest(self) -> _Grave | None:
        """The oldest dead letter that nobody is replaying."""
        try:
            graves = (grave for grave in self._graves.values() if not grave.letter.replaying)
            return next((grave for grave in graves if self._is_free(grave)), None)
        except (
            RuntimeError
        ):  # another thread has changed them meanwhile; the next letter makes room
            return None

    def _is_free(self, grave: _Grave) -> bool:
        """Whether no other event of the id is unfinished; it is taken then, for what is to happen
        with this one.
        """
        owner = self._owners.get(grave.letter.event.id)
        if grave.fate.own is None:
            return owner == grave.key
        return self._owners.setdefault(grave.letter.event.id, grave.key) == grave.key

    def _remove(self, grave: _Grave, outcome: Outcome | None) -> None:
        """Take a dead letter away: it was given up, or has arrived."""
        if self._graves.pop(grave.letter.number, None) is None:
            return
        grave.fate.leaves.pop(grave.letter.route, None)
        if Outcome.DEAD_LETTERED not in grave.fate.leaves.values():
            self._fates.pop(grave.key, None)
        if outcome is not None:
            grave.fate.leaves[grave.letter.route] = outcome

    def _give_up_grave(self, grave: _Grave, reason: str) -> None:
        self._reopen(grave)
        self._remove(grave, Outcome.FAILED)
        self._fail(grave.letter.route, [grave.item], reason)

    def _reopen(self, grave: _Grave) -> None:
        """Move an event back to pending, at its leaf and, if it was finished, here."""
        event_id, fate = grave.letter.event.id, grave.fate
        if fate.own is not None:
            known = {**dict.fromkeys(self.downstream.leaves, Outcome.DELIVERED), **fate.leaves}
            self.downstream.adopt({event_id: known}, received=False)
            self.held[grave.key] = grave.item
            if self._measured:
                self.bytes += grave.item.size
            self.ledger.move(fate.own, Outcome.PENDING)
            fate.own = None
        self.downstream.reopen(grave.letter.route, [event_id])

    def letters(self, selection: Selection) -> list[DeadLetter]:
        """Return the dead letters that are meant, oldest first."""
        return [
            grave.letter for grave in list(self._graves.values()) if selection.matches(grave.letter)
        ]

    def replay(self, selection: Selection, retry: Callable[[str, Sequence[Item]], Any]) -> int:
        """Deliver dead letters once more.

        Each stays one until it is delivered. Return how many there are.
        """
        self._retry = retry
        return self._ask(selection, "")

    def purge(self, selection: Selection) -> int:
        """Give dead letters up: they count as failed. Return how many there were."""
        return self._ask(selection, "purged")

    def _ask(self, selection: Selection, wish: str) -> int:
        meant = [letter.number for letter in self.letters(selection) if not letter.replaying]
        self._wishes.update(dict.fromkeys(meant, wish))
        self._serve()
        return len(meant)

    def _serve(self) -> None:
        """Do what is wished for, where no other event of the same id is unfinished; the rest waits
        for the next report.
        """
        with self._serving:
            for number, wish in list(self._wishes.items()):
                grave = self._graves.get(number)
                if grave is not None and not self._is_free(grave):
                    continue
                if self._wishes.pop(number, None) is None or grave is None:
                    continue
                if wish:
                    self._give_up_grave(grave, wish)
                else:
                    self._replay_grave(grave)

    def _replay_grave(self, grave: _Grave) -> None:
        assert self._retry is not None  # noqa: S101 - it comes with the wish
        self._reopen(grave)
        grave.letter = attrs.evolve(grave.letter, replaying=True)
        old = grave.item
        item = grave.item = Item(old.key, old.event, old.size, old.stored_at)
        item.had, item.dead = True, grave
        self._retry(grave.letter.route, [item])

    # The end, and the books

    def give_up(self, leaf: str, items: Sequence[Item], reason: str) -> int:
        """Fail what waits for a leaf, and some items of its lane. Return how many there were.

        What waits for another event of its id goes back into the queue: it is to be given up once
        that one is finished.
        """
        waiting = [*items, *self.take(leaf, len(self.queues[leaf]), 1 << 62)]
        mine: list[Item] = []
        for item in waiting:
            (mine if self.claim(item) else self.queues[leaf]).append(item)
        self._fail(leaf, mine, reason)
        return len(mine)

    def counts(self) -> Counts:
        """Read the books, with what is pending as it stands in the store."""
        for _ in range(_LOOKS):
            counts, held = self.ledger.counts(), len(self.held)
            if counts.pending == held:
                return counts
            time.sleep(0)  # another thread is between two steps of one event
        return attrs.evolve(counts, pending=held)
