"""How a process takes over a buffer on disk: what its predecessor left is sorted, and made to fit
the routes of its own config.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from eventtracking import Counts, Outcome
from eventtracking_buffer._desk import unknown_id
from eventtracking_buffer._item import Item
from eventtracking_buffer._records import EVENT
from eventtracking_buffer._reports import Key, Move
from eventtracking_buffer._requests import Letter, load_item, load_letters
from eventtracking_buffer._standing import Routes, groups_over, unpack_known
from eventtracking_buffer._state import to_id

if TYPE_CHECKING:
    from eventtracking_buffer._disk import DiskStore

__all__ = ["Succession"]

_NO_ROUTE: Final = "its route is no longer in the config"
_DAMAGED: Final = "damaged on disk"
_DEAD, _FAILED, _PENDING = Outcome.DEAD_LETTERED, Outcome.FAILED, Outcome.PENDING


class Succession:
    """One take-over. All but `adopt` is for the inside of one transaction."""

    def __init__(self, store: DiskStore) -> None:
        self._store = store
        self._state = store.state
        self._routes = store.routes
        self.items: dict[str, list[Item]] = {leaf: [] for leaf in store.routes.leaves}
        """What each leaf is to try again."""
        self._moves: dict[Key, Move] = {}
        self._gone: set[str] = set()
        self._new: set[str] = set()
        self._former = store.routes

    # The routes

    def change_leaves(self) -> None:
        """Forget the leaves that the config has no longer, and let new ones have what is
        unfinished.
        """
        current = set(self._routes.leaves)
        former = {leaf for (leaf,) in self._state.rows("SELECT leaf FROM leaves")}
        if former == current:
            return
        execute = self._state.connection.execute
        if former:
            self._gone, self._new = former - current, current - former
            self._former = Routes(self._routes.path, sorted(former))
            self._introduce(former)
        for leaf in self._gone:
            execute("DELETE FROM retries WHERE leaf = ?", (leaf,))
            execute("DELETE FROM cursors WHERE leaf = ?", (leaf,))
        execute("DELETE FROM leaves")
        self._state.connection.executemany(
            "INSERT INTO leaves VALUES (?)", [(leaf,) for leaf in current]
        )

    def _introduce(self, former: set[str]) -> None:
        """Give each new leaf what any former one has not had, or has had and waits for."""
        cursors = self._state.snapshot().cursors
        files = {file for _, file in cursors}
        starts = {file: min(cursors.get((leaf, file), (0, 0)) for leaf in former) for file in files}
        retried = self._state.rows("SELECT DISTINCT file, offset FROM retries")
        for leaf in self._new:
            self._state.move_cursors(leaf, starts)
            rows = [(leaf, file, at) for file, at in retried if at < starts.get(file, (0, 0))[0]]
            self._state.connection.executemany(
                "INSERT OR IGNORE INTO retries VALUES (?, ?, ?, 0, 0, 0.0, 0.0, '')", rows
            )

    # Reading what is left

    def load(self) -> None:
        """Read what is unfinished."""
        for file, offset, event_id, text in self._state.rows("SELECT * FROM progress"):
            known = unpack_known(text)
            self._moves[file, offset] = Move(to_id(event_id), known, known)
        for leaf in self._routes.leaves:
            self._load_retries(leaf)
        for letter in load_letters(self._store, "replaying"):
            self._load_replay(letter)

    def _load_retries(self, leaf: str) -> None:
        desk = self._store.desks[leaf]
        query = (
            "SELECT file, offset, attempts, had, first_at, last_at, reason FROM retries WHERE leaf"
            " = ? ORDER BY 1, 2"
        )
        for file, offset, attempts, had, first_at, last_at, reason in self._state.rows(query, leaf):
            item = self._reload(leaf, (file, offset))
            if item is None:
                self._lose(leaf, (file, offset), bool(had))
                continue
            item.attempts, item.had, item.first_at, item.last_at = (
                attempts,
                bool(had),
                first_at,
                last_at,
            )
            item.reason = reason
            desk.stored.add(item.key)
            self.items[leaf].append(item)

    def _reload(self, leaf: str, key: Key) -> Item | None:
        reader = self._store.desks[leaf].readers.get(key[0])
        record = reader.record_at(key[1]) if reader is not None else None
        return (
            self._store.decode(key[0], record)
            if record is not None and record.kind == EVENT
            else None
        )

    def _lose(self, leaf: str, key: Key, had: bool) -> None:
        """Fail an event at a leaf, because it has been damaged since it was read for the first
        time.
        """
        reader = self._store.desks[leaf].readers.get(key[0])
        data = b"" if reader is None else reader.raw_at(key[1])
        self._store.set_aside(*key, data, _DAMAGED, Counts(reasons={f"failed: {_DAMAGED}": 1}))
        self._state.connection.execute(
            "DELETE FROM retries WHERE leaf = ? AND file = ? AND offset = ?", (leaf, *key)
        )
        self._state.add_counts(
            leaf, {"pending": -1, "failed": 1} if had else {"received": 1, "failed": 1}
        )
        self._put(key, unknown_id(key), leaf, _FAILED)

    def _load_replay(self, letter: Letter) -> None:
        """Go on with a replay; where that is not possible, the letter is as it was, or
        has failed.
        """
        item = load_item(self._store, letter) if letter.leaf in self._store.desks else None
        if item is not None:
            self._store.desks[letter.leaf].replaying.add(letter.key)
            self.items[letter.leaf].append(item)
            self._put(letter.key, letter.event_id, letter.leaf, _PENDING)
        elif letter.leaf in self._store.desks:
            self._state.connection.execute("DELETE FROM dead WHERE number = ?", (letter.number,))
            self._end_replay(letter, _FAILED)
        else:
            self._state.connection.execute(
                "UPDATE dead SET state = 'dead' WHERE number = ?", (letter.number,)
            )
            self._end_replay(letter, _DEAD)

    def _end_replay(self, letter: Letter, outcome: Outcome) -> None:
        self._state.add_counts(letter.leaf, {"pending": -1, outcome.name.lower(): 1})
        self._put(letter.key, letter.event_id, letter.leaf, outcome)

    def _put(self, key: Key, event_id: str, leaf: str, outcome: Outcome) -> None:
        move = self._moves.setdefault(key, Move(event_id, None, {}))
        if move.after.get(leaf) is not outcome:
            move.after = {**move.after, leaf: outcome}

    # Finishing

    def finish(self) -> None:
        """End what nobody is still to have, and write down what has changed."""
        self._store.writer.has_dead = bool(self._state.rows("SELECT 1 FROM dead LIMIT 1"))
        failed = 0
        for key, move in self._moves.items():
            failed += self._leave_gone(move)
            self._close_leaves(key, move)
            filled = self._filled(key, move)
            if self._routes.is_settled(filled):
                move.ended = max(filled.values())
            elif len(filled) > len(
                move.after
            ):  # as `Downstream.adopt` sees it: a group waits for none of these leaves
                move.after = {
                    **move.after,
                    **{leaf: filled[leaf] for leaf in filled if self._is_known_above(leaf, move)},
                }
        other = self._former is not self._routes
        changed = {
            k: m
            for k, m in self._moves.items()
            if other or m.ended is not None or m.after is not m.before
        }
        if failed:
            self._state.add_counts(
                self._routes.path, Counts(reasons={f"failed: {_NO_ROUTE}": failed})
            )
        self._store.writer.settle(changed, self._former)
        self._mend()

    def _leave_gone(self, move: Move) -> bool:
        """End an event at the leaves that are gone, unless a new one has it in their place; return
        whether it has failed there.
        """
        after = dict(move.after)
        missed = [leaf for leaf in self._gone if after.get(leaf, _PENDING) is _PENDING]
        if not missed:
            return False
        for leaf in missed:
            after.pop(leaf, None)
            if not self._new:
                after[leaf] = _FAILED
        move.after = after
        return not self._new

    def _close_leaves(self, key: Key, move: Move) -> None:
        """Fail an event where it was tried and nothing is left of it.

        No transaction leaves that behind.
        """
        for leaf, outcome in move.after.items():
            if (
                outcome is _PENDING
                and leaf in self._store.desks
                and not self._store.desks[leaf].is_due(key)
            ):
                self._state.add_counts(leaf, {"pending": -1, "failed": 1})
                move.after = {**move.after, leaf: _FAILED}

    def _filled(self, key: Key, move: Move) -> dict[str, Outcome]:
        """With the leaves that will never have it."""
        desks = self._store.desks
        never = [leaf for leaf in desks if leaf not in move.after and not desks[leaf].is_due(key)]
        return {**dict.fromkeys(never, Outcome.FILTERED), **move.after}

    def _is_known_above(self, leaf: str, move: Move) -> bool:
        groups = list(groups_over(leaf, self._routes.path))
        return not groups or self._routes.at_group(groups[-1], move.after) is not None

    def _mend(self) -> None:
        """Make the books below agree with what is there.

        They differ where memory stood in for the disk, or somebody deleted letters.
        """
        counts = self._state.snapshot().counts
        pending = self._measure_pending()
        letters = dict(
            self._state.rows(
                "SELECT leaf, count(*) FROM dead WHERE state != 'replaying' GROUP BY leaf"
            )
        )
        query = "SELECT count(*) FROM (SELECT DISTINCT file, offset FROM dead WHERE own = ?)"
        letters[self._routes.path] = self._state.rows(query, int(_DEAD))[0][0]
        for path, found in counts.items():
            known = path in self._routes.leaves or path in self._routes.groups
            if known and found.pending != pending.get(path, 0):
                phantom = found.pending - pending.get(path, 0)
                self._state.add_counts(path, {"received": -phantom, "pending": -phantom})
            elif not known and path != self._routes.path and found.pending:
                reasons = {f"failed: {_NO_ROUTE}": found.pending}
                self._state.add_counts(
                    path, Counts(pending=-found.pending, failed=found.pending, reasons=reasons)
                )
            vanished = found.dead_lettered - letters.get(path, 0)
            if vanished and path not in self._routes.groups and (known or path in letters):
                self._state.add_counts(path, {"dead_lettered": -vanished, "failed": vanished})

    def _measure_pending(self) -> dict[str, int]:
        measured: dict[str, int] = {}
        for move in self._moves.values():
            for path in self._pending_paths(move) if move.ended is None else ():
                measured[path] = measured.get(path, 0) + 1
        return measured

    def _pending_paths(self, move: Move) -> Iterator[str]:
        for leaf in self._routes.leaves:
            if move.after.get(leaf) is _PENDING:
                yield leaf
        for group in self._routes.groups:
            if self._routes.at_group(group, move.after) is _PENDING:
                yield group

    def adopt(self) -> None:
        """Hand the unfinished events to the routes below."""
        progress: dict[str, Any] = {}
        for key, move in self._moves.items():
            if move.ended is None and self._store.owners.setdefault(move.event_id, key) == key:
                progress[move.event_id] = self._filled(key, move)
        self._store.downstream.adopt(progress, received=False)
