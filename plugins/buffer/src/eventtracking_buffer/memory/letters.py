"""The dead letters of a buffer in memory."""

from __future__ import annotations

import attrs

from eventtracking import Outcome
from eventtracking.counts import change_of, reason_text
from eventtracking_buffer.dead_letters import DeadLetter, Selection
from eventtracking_buffer.delivery.attempt import Report
from eventtracking_buffer.delivery.clock import Clock
from eventtracking_buffer.delivery.queue import QueuedEvent
from eventtracking_buffer.delivery.standings import has_failed, reopened, whole
from eventtracking_buffer.memory.store import MemoryStore

__all__ = ["MemoryLetters"]

_DEAD, _FAILED, _PENDING = Outcome.DEAD_LETTERED, Outcome.FAILED, Outcome.PENDING


@attrs.define(eq=False)
class _StoredDeadLetter:
    letter: DeadLetter
    item: QueuedEvent
    stored_at: float


class MemoryLetters:
    """Keeps dead letters within limits. All methods are for a thread where nothing interrupts.

    Args:
        max_letters: The oldest beyond this are given up.
        max_bytes: The same, for their bytes together.
        max_age_s: Older ones are given up; None: none is too old.
    """

    def __init__(
        self,
        store: MemoryStore,
        max_letters: int,
        max_bytes: int,
        max_age_s: float | None,
        clock: Clock,
    ) -> None:
        self._store = store
        self._clock = clock
        self._max_letters, self._max_bytes, self._max_age_s = max_letters, max_bytes, max_age_s
        self._letters: dict[int, _StoredDeadLetter] = {}
        self._by_event: dict[int, set[int]] = {}
        self._bytes = 0
        self._next = 1
        store.buried = self._take
        store.keeps = self._by_event.__contains__
        store.trim = self.trim

    def _take(self, report: Report) -> None:
        failed = {id(item) for item, _ in report.letters}
        for item in report.done:
            if item.letter is not None and id(item) not in failed:
                self._remove(item.letter)  # the replay arrived
        for item, leaf in report.letters:
            if item.letter is None:
                self._add(item, leaf)
            else:
                self._keep(item.letter)

    def _keep(self, number: int) -> None:
        """Note that a replay failed: the letter is as it was."""
        found = self._letters.get(number)
        if found is not None:
            found.letter = attrs.evolve(found.letter, replaying=False)

    def _add(self, item: QueuedEvent, leaf: str) -> None:
        number, self._next = self._next, self._next + 1
        letter = DeadLetter(
            number=number,
            route=leaf,
            event=item.event,
            reason=item.reason,
            attempts=item.attempts,
            first_at=item.first_at,
            last_at=item.last_at,
        )
        self._letters[number] = _StoredDeadLetter(letter, item, item.last_at)
        self._by_event.setdefault(item.key, set()).add(number)
        self._bytes += item.size

    def _remove(self, number: int) -> None:
        found = self._letters.pop(number, None)
        if found is None:
            return
        self._bytes -= found.item.size
        others = self._by_event.get(found.item.key, set())
        others.discard(number)
        if not others:
            self._by_event.pop(found.item.key, None)

    def trim(self) -> int:
        """Give up the oldest letters beyond the limits; return how many there were."""
        with self._store.lock:
            return self._trim()

    def _trim(self) -> int:
        count = 0
        while (reason := self._excess()) is not None:
            oldest = next((x for x in self._letters.values() if not x.letter.replaying), None)
            if oldest is None:
                break
            self._give_up(oldest, reason)
            count += 1
        return count

    def _excess(self) -> str | None:
        if len(self._letters) > self._max_letters or self._bytes > self._max_bytes:
            return "too many dead letters"
        oldest = next(iter(self._letters.values()), None)
        if oldest is None or self._max_age_s is None:
            return None
        return (
            "the dead letter was too old"
            if self._clock.time() - oldest.stored_at > self._max_age_s
            else None
        )

    def chosen(self, selection: Selection) -> list[DeadLetter]:
        """Return the dead letters that are meant, oldest first."""
        with self._store.lock:
            return self._all_chosen(selection)

    def _all_chosen(self, selection: Selection) -> list[DeadLetter]:
        return [x.letter for x in self._letters.values() if selection.matches(x.letter)]

    def replay(self, selection: Selection) -> list[QueuedEvent]:
        """Move letters to pending; return what is to be delivered."""
        with self._store.lock:
            return [self._reopen(found) for found in self._chosen(selection)]

    def purge(self, selection: Selection) -> int:
        """Give letters up: they count as failed. Return how many there were."""
        with self._store.lock:
            chosen = self._chosen(selection)
            for found in chosen:
                self._give_up(found, "purged")
            return len(chosen)

    def _chosen(self, selection: Selection) -> list[_StoredDeadLetter]:
        return [
            found
            for found in self._letters.values()
            if not found.letter.replaying and selection.matches(found.letter)
        ]

    def _give_up(self, found: _StoredDeadLetter, reason: str) -> None:
        store, key, leaf = self._store, found.item.key, found.letter.route
        text = reason_text(_FAILED, reason)
        self._remove(found.letter.number)
        if key in store.held:
            store.report(
                Report("", news=[(found.item, {leaf: _FAILED})], reasons={leaf: {text: 1}})
            )
            return
        before = store.standings[key]
        transition = reopened(store.routes, before, leaf, _FAILED, finished=True)
        store.ledger.total += change_of(whole(store.routes, before), transition.ended)
        store.count(transition.changes(store.routes))
        store.settle(key, transition)
        store.remark({leaf: {text: 1}})

    def _reopen(self, found: _StoredDeadLetter) -> QueuedEvent:
        store, old = self._store, found.item
        leaf = found.letter.route
        finished = old.key not in store.held
        before = store.standings[old.key]
        transition = reopened(store.routes, before, leaf, _PENDING, finished)
        if finished and not has_failed(store.routes, transition.after):
            store.held[old.key] = old
            store.held_bytes += old.size
            store.ledger.total += change_of(_DEAD, _PENDING)
        store.count(transition.changes(store.routes))
        store.standings[old.key] = transition.after
        found.letter = attrs.evolve(found.letter, replaying=True)
        item = found.item = QueuedEvent(old.key, old.event, old.size, old.stored_at)
        item.attempted, item.letter, item.leaves = True, found.letter.number, (leaf,)
        return item
