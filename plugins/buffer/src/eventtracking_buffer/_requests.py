"""Replays and purges of dead letters on disk, done by the process that delivers.

What a request changes is one transaction, and what a purge has taken on never looks like a replay,
so that a process that dies leaves the letter either as it was or as it was meant to be. The books
below the buffer are written with it; where the routes below know the event, they count it too, and
that is taken off again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from eventtracking import Counts, Outcome
from eventtracking_buffer import codec
from eventtracking_buffer._item import Item
from eventtracking_buffer._reports import Changes, Key
from eventtracking_buffer._standing import Known, add_change, pack_known, unpack_known
from eventtracking_buffer._state import from_id, to_id

if TYPE_CHECKING:
    from eventtracking_buffer._disk import DiskStore

__all__ = ["Letter", "Requests", "load_letters"]

_MAX_AT_ONCE: Final = 500
_COLUMNS: Final = "number, file, offset, event_id, leaf, own"
_BODY: Final = (
    "SELECT reason, attempts, first_at, last_at, payload, stored_at FROM dead WHERE number = ?"
)
_AT_PLACE: Final = "WHERE file = ? AND offset = ?"
_PURGED: Final = "purged"
_UNREADABLE: Final = "its dead letter cannot be read"
_DEAD, _FAILED, _PENDING = Outcome.DEAD_LETTERED, Outcome.FAILED, Outcome.PENDING


class Letter:
    """One dead letter in the state, without its event."""

    __slots__ = ("event_id", "key", "leaf", "number", "own")

    def __init__(
        self, number: int, file: str, offset: int, event_id: str | bytes, leaf: str, own: int | None
    ) -> None:
        self.number = number
        self.key: Key = (file, offset)
        self.event_id = to_id(event_id)
        self.leaf = leaf
        self.own = own
        """What became of its event as a whole; None while that is unfinished."""


def load_letters(store: DiskStore, state: str) -> list[Letter]:
    """Return the dead letters that somebody has asked something about, or that are being
    replayed.
    """
    rows = store.state.rows(f"SELECT {_COLUMNS} FROM dead WHERE state = ? ORDER BY number", state)  # noqa: S608 - constants
    return [Letter(*row) for row in rows]


def load_item(store: DiskStore, letter: Letter) -> Item | None:
    """Return a dead letter with its event, as something to deliver.

    One that cannot be read is copied aside.
    """
    reason, attempts, first_at, last_at, payload, stored_at = store.state.rows(
        _BODY, letter.number
    )[0]
    try:
        item = Item(letter.key, codec.decode(payload), len(payload), stored_at)
    except codec.FormatError:
        store.keep_aside(f"letter-{letter.number}", bytes(payload or b""))
        return None
    item.attempts, item.first_at, item.last_at, item.reason = attempts, first_at, last_at, reason
    item.had, item.dead = True, letter.number
    return item


class Requests:
    """Serves what is asked for. Everything is for the thread that holds the store's lock."""

    def __init__(self, store: DiskStore) -> None:
        self._store = store
        self._changes: Changes = {}
        """What the books below get that the routes below do not count themselves."""
        self._afterwards: list[tuple[Callable[[], object], Changes]] = []
        """What the routes below are told once it is written, and what they count then."""

    def serve(self) -> dict[str, list[Item]]:
        """Do what is asked for, as far as it can be done now.

        Return what is to be delivered, by leaf.
        """
        store = self._store
        if not store.state.rows("SELECT 1 FROM dead WHERE state IN ('replay', 'purge') LIMIT 1"):
            return {}
        items: dict[str, list[Item]] = {}
        self._changes, self._afterwards = {}, []
        with store.state.transaction():
            for letter in self._chosen("purge"):
                self.purge(letter, _PURGED)
            for letter in self._chosen("replay"):
                self._replay(letter, items)
            for path, change in self._changes.items():
                store.state.add_counts(path, change)
        for act, changes in self._afterwards:
            store.mirror(act, changes)
        for leaf, leased in items.items():
            store.desks[leaf].replaying.update(item.key for item in leased)
        return items

    def _chosen(self, state: str) -> list[Letter]:
        """Those that can be served: the rest waits until no other event of the same id is
        unfinished.
        """
        chosen: list[Letter] = []
        for letter in load_letters(self._store, state):
            if len(chosen) == _MAX_AT_ONCE:
                break
            if self._is_free(letter, state):
                chosen.append(letter)
        return chosen

    def _is_free(self, letter: Letter, state: str) -> bool:
        store = self._store
        if letter.leaf not in store.desks or (letter.own is not None and state == "purge"):
            return True
        if (
            letter.own is None
            # unfinished; the routes below know it, unless a report that ends it is still to be
            # written
        ):
            return store.owners.get(letter.event_id) == letter.key and bool(
                store.downstream.progress([letter.event_id])
            )
        return store.owners.setdefault(letter.event_id, letter.key) == letter.key

    # Purging

    def purge(self, letter: Letter, reason: str) -> None:
        """Give a dead letter up: it counts as failed."""
        state = self._store.state
        own, known = self._standing(letter)
        after = {**known, letter.leaf: _FAILED}
        state.connection.execute("DELETE FROM dead WHERE number = ?", (letter.number,))
        state.add_counts(letter.leaf, Counts(reasons={f"failed: {reason}": 1}))
        changes: Changes = {}
        add_change(changes, letter.leaf, _DEAD, _FAILED)
        self._book_groups(changes, known, after, own is not None, own is not None)
        if own is not None:
            add_change(self._changes, self._store.routes.path, Outcome(own), _FAILED)
            values = (int(_FAILED), pack_known(after), *letter.key)
            state.connection.execute(f"UPDATE dead SET own = ?, known = ? {_AT_PLACE}", values)  # noqa: S608 - a constant
            self._release_if_free(letter)
        else:
            self._note_progress(letter, after)
            if letter.leaf in self._store.desks:
                self._afterwards.append((lambda: self._fail_below(letter), changes))
        _merge(self._changes, changes)

    def _fail_below(self, letter: Letter) -> None:
        downstream = self._store.downstream
        downstream.reopen(letter.leaf, [letter.event_id])
        downstream.settle(letter.leaf, [letter.event_id], _FAILED)

    def _release_if_free(self, letter: Letter) -> None:
        """Give the id free again, which only a replay needs."""
        if not self._store.downstream.progress([letter.event_id]):
            self._store.release(letter.event_id, letter.key)

    # Replaying

    def _replay(self, letter: Letter, items: dict[str, list[Item]]) -> None:
        store = self._store
        execute = store.state.connection.execute
        if letter.leaf not in store.desks:  # there is no way to it any more
            execute("UPDATE dead SET state = 'dead' WHERE number = ?", (letter.number,))
            return
        item = load_item(store, letter)
        if item is None:
            self.purge(letter, _UNREADABLE)
            store.tell(f"failed: {_UNREADABLE}", 1)
            return
        self.lease(letter)
        items.setdefault(letter.leaf, []).append(item)

    def lease(self, letter: Letter) -> None:
        """Take a dead letter out for a replay: from now on its event is pending again, and
        everybody else's letter stays.
        """
        store = self._store
        own, known = self._standing(letter)
        before, after = {**known, letter.leaf: _DEAD}, {**known, letter.leaf: _PENDING}
        changes: Changes = {}
        add_change(changes, letter.leaf, _DEAD, _PENDING)
        self._book_groups(changes, before, after, own is not None, False)
        execute = store.state.connection.execute
        execute("UPDATE dead SET state = 'replaying' WHERE number = ?", (letter.number,))
        if own is not None:
            store.state.add_outcomes(store.routes.path, [Outcome(own)], -1)
            execute(f"UPDATE dead SET own = NULL, reopened = 1 {_AT_PLACE}", letter.key)  # noqa: S608 - a constant
        self._note_progress(letter, after)
        closed = (
            {**dict.fromkeys(store.routes.leaves, Outcome.FILTERED), **before}
            if own is not None
            else None
        )
        self._afterwards.append((lambda: self._reopen_below(letter, closed), changes))
        _merge(self._changes, changes)

    def _reopen_below(self, letter: Letter, closed: dict[str, Outcome] | None) -> None:
        downstream = self._store.downstream
        if closed is not None:
            downstream.adopt({letter.event_id: closed}, received=False)
        downstream.reopen(letter.leaf, [letter.event_id])

    # Both

    def _standing(self, letter: Letter) -> tuple[int | None, Known]:
        """How the event stands now; another letter of it may have been served a moment ago."""
        state = self._store.state
        own, text = state.connection.execute(
            "SELECT own, known FROM dead WHERE number = ?", (letter.number,)
        ).fetchone()
        known = unpack_known(text) if own is not None else self._store.writer.read(letter.key)
        return own, {letter.leaf: _DEAD, **(known or {})}

    def _note_progress(self, letter: Letter, known: Known) -> None:
        row = (*letter.key, from_id(letter.event_id), pack_known(known))
        self._store.state.connection.execute(
            "INSERT OR REPLACE INTO progress VALUES (?, ?, ?, ?)", row
        )

    def _book_groups(
        self, changes: Changes, before: Known, after: Known, was_final: bool, is_final: bool
    ) -> None:
        routes = self._store.routes
        for group in routes.groups:
            add_change(
                changes,
                group,
                routes.at_group(group, before, was_final),
                routes.at_group(group, after, is_final),
            )


def _merge(into: Changes, changes: Mapping[str, Mapping[str, Any]]) -> None:
    for path, change in changes.items():
        found = into.setdefault(path, {})
        for name, value in change.items():
            found[name] = found.get(name, 0) + value
