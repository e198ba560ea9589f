"""Replays and purges of dead letters on disk, done by the process that delivers.

A request is written by any process. What it changes is one transaction, and what a purge has taken
on never looks like a replay, so that a process that dies leaves the letter as it was or as it was
meant to be.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs

from eventtracking import Outcome
from eventtracking.counts import reason_text
from eventtracking.standing import Standing
from eventtracking_buffer import codec
from eventtracking_buffer.delivery.attempt import Report
from eventtracking_buffer.delivery.queue import QueuedEvent
from eventtracking_buffer.delivery.standings import Transition, has_failed, reopened, whole
from eventtracking_buffer.disk.journal.reader import JournalReader, decode, stub
from eventtracking_buffer.disk.journal.records import EVENT, Record
from eventtracking_buffer.disk.state.connection import from_id, to_id
from eventtracking_buffer.disk.state.transitions import Key, add_change, pack, unpack

if TYPE_CHECKING:
    from eventtracking_buffer.disk.store import DiskStore

__all__ = ["Requests"]

_MAX_AT_ONCE: Final = 500
_COLUMNS: Final = "number, file, offset, event_id, leaf, own, known, target"
_BODY: Final = (
    "SELECT reason, attempts, first_at, last_at, payload, stored_at FROM dead WHERE number = ?"
)
_ASKED: Final = "SELECT 1 FROM dead WHERE state IN ('replay', 'purge') LIMIT 1"
_AT_PLACE: Final = "WHERE file = ? AND offset = ?"
_PURGED: Final = "purged"
_UNREADABLE: Final = "its dead letter cannot be read"
_NO_ROUTE: Final = "its route is no longer in the config"
_DEAD, _FAILED, _PENDING = Outcome.DEAD_LETTERED, Outcome.FAILED, Outcome.PENDING


@attrs.frozen
class _Letter:
    """One dead letter, without its event."""

    number: int
    key: Key
    event_id: str
    leaf: str
    is_finished: bool
    """Whether its event is final everywhere."""
    known: Standing
    """How the event ended, if it is finished."""
    target: str | None

    @classmethod
    def of(cls, row: tuple[Any, ...]) -> _Letter:
        number, file, offset, event_id, leaf, own, known, target = row
        standing = unpack(known) if own is not None else {}
        return cls(number, (file, offset), to_id(event_id), leaf, own is not None, standing, target)


class Requests:
    """Serves requests. Everything is for the thread that holds the store's lock."""

    def __init__(self, store: DiskStore) -> None:
        self._store = store
        self._state = store.state

    def serve(self) -> dict[str, list[QueuedEvent]]:
        """Do what is asked for; return what is to be delivered, by lane."""
        state = self._state
        self._retire()
        if not state.rows(_ASKED):
            return {}
        items: dict[str, list[QueuedEvent]] = {}
        with state.transaction():
            for number in self._numbers("purge"):
                self._purge(self._letter(number), _PURGED)
            for number in self._numbers("replay"):
                self._replay(self._letter(number), items)
        return items

    def has_more(self) -> bool:
        """Return whether there are more requests than are served at once."""
        return bool(self._state.rows(_ASKED) or self._state.rows("SELECT 1 FROM requests LIMIT 1"))

    def _numbers(self, wanted: str) -> list[int]:
        query = "SELECT number FROM dead WHERE state = ? ORDER BY number LIMIT ?"
        return [number for (number,) in self._state.rows(query, wanted, _MAX_AT_ONCE)]

    def _letter(self, number: int) -> _Letter:
        """Read a letter; another one of its event may have been served a moment ago."""
        query = f"SELECT {_COLUMNS} FROM dead WHERE number = ?"  # noqa: S608 - constants
        return _Letter.of(self._state.rows(query, number)[0])

    # Limits

    def trim(self, max_letters: int, max_bytes: int, max_age_s: float | None) -> int:
        """Give up the oldest letters beyond the limits; return how many there were.

        Letters that were there before there were limits are spared.
        """
        rows = self._state.rows
        spared = rows("SELECT value FROM spared WHERE kind = 'letters'")
        after = spared[0][0] if spared else 0
        count, size = rows(
            "SELECT count(*), coalesce(sum(length(payload)), 0) FROM dead WHERE number > ?", after
        )[0]
        born = self._store.clock.time() - max_age_s if max_age_s is not None else float("-inf")
        given = 0
        query = (
            "SELECT number, length(payload), last_at FROM dead WHERE number > ? AND state = 'dead'"
            " ORDER BY number LIMIT ?"
        )
        with self._state.transaction():
            for number, length, last_at in rows(query, after, _MAX_AT_ONCE):
                is_old = last_at < born
                if not is_old and count <= max_letters and size <= max_bytes:
                    break
                reason = "the dead letter was too old" if is_old else "too many dead letters"
                self._purge(self._letter(number), reason)
                count, size, given = count - 1, size - (length or 0), given + 1
        return given

    # Purging

    def _purge(self, letter: _Letter, reason: str) -> None:
        """Give a dead letter up: it counts as failed."""
        self._state.connection.execute("DELETE FROM dead WHERE number = ?", (letter.number,))
        self._state.add_reasons({letter.leaf: {reason_text(_FAILED, reason): 1}})
        if not letter.is_finished:
            self._move(letter, {letter.leaf: _FAILED})
            return
        store = self._store
        found = reopened(store.writer.counted, letter.known, letter.leaf, _FAILED, finished=True)
        self._count(found)
        own: dict[str, dict[str, int]] = {}
        before = whole(store.routes, letter.known)
        add_change(own, store.routes.path, before, _FAILED)
        own[store.routes.path].pop("received", None)
        self._state.add_counts(store.routes.path, own[store.routes.path])
        values = (_FAILED.label, pack(found.after), *letter.key)
        self._state.connection.execute(f"UPDATE dead SET own = ?, known = ? {_AT_PLACE}", values)  # noqa: S608 - a constant

    def _move(self, letter: _Letter, news: Standing) -> None:
        """Give an unfinished event new outcomes."""
        writer = self._store.writer
        found = Transition.of(self._store.routes, writer.read(letter.key), news)
        writer.move({letter.key: (letter.event_id, found)})

    def _count(self, transition: Transition) -> None:
        total: dict[str, dict[str, int]] = {}
        for path, old, new in transition.changes(self._store.writer.counted):
            add_change(total, path, old, new)
        for path, change in total.items():
            self._state.add_counts(path, change)

    # Replaying

    def _replay(self, letter: _Letter, items: dict[str, list[QueuedEvent]]) -> None:
        lane = self._lane_of(letter.target or letter.leaf)
        if lane is None:  # there is no way to it any more
            self._state.connection.execute(
                "UPDATE dead SET state = 'dead', target = NULL WHERE number = ?", (letter.number,)
            )
            return
        item = self._load_item(letter)
        if item is None:
            self._purge(letter, _UNREADABLE)
            self._store.tell(f"failed: {_UNREADABLE}", 1)
            return
        self._lease(letter)
        items.setdefault(lane, []).append(item)

    def _lane_of(self, leaf: str) -> str | None:
        lanes = self._store.lanes.items()
        return next((lane for lane, state in lanes if leaf in state.leaves), None)

    def _load_item(self, letter: _Letter) -> QueuedEvent | None:
        """Return a dead letter as something to deliver; one that cannot be read is copied aside."""
        reason, attempts, first_at, last_at, payload, stored_at = self._state.rows(
            _BODY, letter.number
        )[0]
        try:
            item = QueuedEvent(letter.key, codec.decode(payload), len(payload), stored_at)
        except (codec.FormatError, TypeError):
            self._store.keep_aside(f"letter-{letter.number}", bytes(payload or b""))
            return None
        item.attempts, item.first_at, item.last_at, item.reason = (
            attempts,
            first_at,
            last_at,
            reason,
        )
        item.attempted, item.letter = True, letter.number
        item.leaves = (letter.target or letter.leaf,)
        return item

    def _lease(self, letter: _Letter) -> None:
        """Move the letter's event to pending; the letter stays until it has arrived."""
        execute = self._state.connection.execute
        execute("UPDATE dead SET state = 'replaying' WHERE number = ?", (letter.number,))
        if letter.is_finished:
            self._reopen(letter)
        else:
            self._lease_unfinished(letter)
        if letter.target is not None:
            text = reason_text(Outcome.FILTERED, f"replayed to {letter.target}")
            self._state.add_reasons({letter.leaf: {text: 1}})
            execute(
                "UPDATE dead SET leaf = target, target = NULL WHERE number = ?", (letter.number,)
            )

    def _reopen(self, letter: _Letter) -> None:
        store, execute = self._store, self._state.connection.execute
        found = reopened(store.writer.counted, letter.known, letter.leaf, _PENDING, finished=True)
        found = _sent_to(found, letter)
        self._count(found)
        if not has_failed(store.routes, found.after):
            label = whole(store.routes, letter.known).label
            self._state.add_counts(store.routes.path, {label: -1})
            execute(f"UPDATE dead SET reopened = 1 {_AT_PLACE}", letter.key)  # noqa: S608 - a constant
        execute(f"UPDATE dead SET own = NULL {_AT_PLACE}", letter.key)  # noqa: S608 - a constant
        self._put_progress(letter, found.after)

    def _lease_unfinished(self, letter: _Letter) -> None:
        store = self._store
        before = store.writer.read(letter.key) or {}
        found = reopened(store.writer.counted, before, letter.leaf, _PENDING, finished=False)
        found = _sent_to(found, letter)
        self._count(found)
        self._put_progress(letter, found.after)

    def _put_progress(self, letter: _Letter, standing: Standing) -> None:
        row = (*letter.key, from_id(letter.event_id), pack(standing))
        query = "INSERT OR REPLACE INTO progress VALUES (?, ?, ?, ?)"
        self._state.connection.execute(query, row)

    def resume(self) -> dict[str, list[QueuedEvent]]:
        """Go on with the replays of a former deliverer, inside its take-over."""
        items: dict[str, list[QueuedEvent]] = {}
        query = "SELECT number FROM dead WHERE state = 'replaying' ORDER BY number"
        for (number,) in self._state.rows(query):
            letter = self._letter(number)
            lane = self._lane_of(letter.leaf)
            item = self._load_item(letter) if lane is not None else None
            if item is not None and lane is not None:
                items.setdefault(lane, []).append(item)
                continue
            if lane is not None:
                outcome, action = _FAILED, "DELETE FROM dead WHERE number = ?"
            else:
                outcome, action = _DEAD, "UPDATE dead SET state = 'dead' WHERE number = ?"
            self._state.connection.execute(action, (number,))
            self._move(letter, {letter.leaf: outcome})
        return items

    # Routes that are gone

    def _retire(self) -> None:
        """Make dead letters of what waits for routes that the config lost."""
        state = self._state
        for number, route in state.rows("SELECT number, route FROM requests WHERE kind = 'retire'"):
            lanes = [
                lane
                for (lane,) in state.rows("SELECT DISTINCT leaf FROM retries")
                if lane not in self._store.lanes and f"{lane}/".startswith(f"{route}/")
            ]
            with state.transaction() as connection:
                left = [lane for lane in lanes if self._retire_some(lane)]
                if not left:
                    connection.execute("DELETE FROM requests WHERE number = ?", (number,))

    def _retire_some(self, lane: str) -> bool:
        """Retire the oldest events of a lost lane; return whether there are more."""
        state = self._state
        query = "SELECT file, offset, attempts FROM retries WHERE leaf = ? ORDER BY 1, 2 LIMIT ?"
        rows = state.rows(query, lane, _MAX_AT_ONCE)
        report = Report(lane)
        stored: set[Key] = set()
        for file, offset, attempts in rows:
            item = self._read_event(file, offset)
            item.attempts = attempts
            standing = self._store.writer.read((file, offset)) or {}
            leaves = [
                leaf
                for leaf, outcome in standing.items()
                if outcome is _PENDING and f"{leaf}/".startswith(f"{lane}/")
            ]
            item.reason = _NO_ROUTE
            item.first_at = item.last_at = self._store.clock.time()
            report.news.append((item, dict.fromkeys(leaves, _DEAD)))
            report.done.append(item)
            stored.add(item.key)
            for leaf in leaves:
                report.letters.append((item, leaf))
                report.remark(leaf, reason_text(_DEAD, _NO_ROUTE))
        execute = state.connection.executemany
        self._store.writer.write(execute, [report], {lane: stored}, several=True)
        self._store.look_for_done_files()
        return len(rows) == _MAX_AT_ONCE

    def _read_event(self, file: str, offset: int) -> QueuedEvent:
        record = JournalReader(self._store.folder / file).record_at(offset)
        if record is not None and record.kind == EVENT:
            item = decode(file, record)
            if isinstance(item, QueuedEvent):
                return item
        return stub(file, offset, record or Record(offset, offset, 0, 0.0, b""))


def _sent_to(found: Transition, letter: _Letter) -> Transition:
    """Have another leaf wait for the event, in the place of the letter's own."""
    if letter.target is None or letter.target == letter.leaf or found.before is None:
        return found
    after = {**found.after, letter.leaf: Outcome.FILTERED, letter.target: _PENDING}
    before = dict(found.before)
    if letter.target not in letter.known:  # it never had the event
        before.pop(letter.target, None)
    return Transition(before, after, found.ended)
