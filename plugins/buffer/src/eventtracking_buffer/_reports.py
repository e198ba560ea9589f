"""How the reports of lanes become rows of the state, and the books that belong to them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

import attrs

from eventtracking import Counts, Outcome
from eventtracking.protocols import Downstream
from eventtracking_buffer import codec
from eventtracking_buffer._item import Item
from eventtracking_buffer._lane import Report
from eventtracking_buffer._standing import Routes, add_change, pack_known, unpack_known
from eventtracking_buffer._state import State, from_id, to_words

__all__ = ["Changes", "Entry", "Key", "Move", "ReportWriter"]

Key = tuple[str, int]
"""The place of an event: the journal's file, and the offset. It tells events of one id apart."""
Changes = dict[str, dict[str, int]]
"""What was added to the books, by path and name."""

_PUT_RETRY: Final = "INSERT OR REPLACE INTO retries VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_PUT_PROGRESS: Final = "INSERT OR REPLACE INTO progress VALUES (?, ?, ?, ?)"
_PUT_DEAD: Final = (
    "INSERT INTO dead (file, offset, event_id, leaf, name, reason, attempts, first_at, last_at,"
    " payload, stored_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_NOT_KEPT: Final = "its dead letter could not be stored"


@attrs.define(eq=False)
class Move:
    """How an event has moved at the leaves."""

    event_id: str
    before: Mapping[str, Outcome] | None
    """How it stands in the state; None if it has no row there."""
    after: Mapping[str, Outcome]
    ended: Outcome | None = None
    """What became of it as a whole, if it is final everywhere now."""


@attrs.define(eq=False)
class Entry:
    """A report, what the journal's state was then, and what belongs to it in the books."""

    report: Report
    untried: list[Item]
    """What is behind the place, and in no report yet."""
    places: dict[str, tuple[int, int]]
    known: dict[Key, tuple[str, dict[str, Outcome]]]
    """By place: the event's id, and what is new of it."""
    counts: Counts
    """What the leaf has counted for it."""
    own: Counts = attrs.field(factory=Counts)
    """What the buffer's own path gets besides."""
    ended: set[Key] = attrs.field(init=False)
    """What is final at the leaf now."""
    again: list[Item] = attrs.field(init=False)
    finished: dict[Key, Outcome] = attrs.field(init=False)
    """What is final everywhere."""
    stripped: bool = False

    def __attrs_post_init__(self) -> None:
        report = self.report
        over = [*report.done, *report.dead]
        self.ended = {item.key for item in over}
        self.again = [item for item in report.again if item.dead is None]
        self.finished = {
            i.key: report.finished[i.event.id] for i in over if i.event.id in report.finished
        }

    def strip(self) -> None:
        """Leave out what cannot be stored: the words about retries, and the dead letters, whose
        events have failed then.
        """
        lost = [item for item in self.report.dead if item.dead is None]
        self.report.dead = [item for item in self.report.dead if item.dead is not None]
        for item in lost:
            self.known[item.key] = (item.event.id, {self.report.leaf: Outcome.FAILED})
            if item.key in self.finished:
                self.finished[item.key] = Outcome.FAILED
        count = len(lost)
        self.counts += Counts(
            dead_lettered=-count, failed=count, reasons={f"failed: {_NOT_KEPT}": count}
        )
        self.stripped = True


class ReportWriter:
    """Writes reports into the state. Everything is for the inside of a transaction.

    The books of a leaf come with its reports. Those of a group follow from how its events stand in
    the state, before and
    after: what its own ledger says is ahead of that, by what is on its way.

    Args:
        state: Where to.
        downstream: The routes below, which know how far an unfinished event has come.
    """

    def __init__(self, state: State, downstream: Downstream, routes: Routes) -> None:
        self._state = state
        self._downstream = downstream
        self._routes = routes
        self._several = len(routes.leaves) > 1
        self.has_dead = False
        """Whether there may be dead letters. Without any, less is to be done."""

    def outcomes_of(self, report: Report) -> dict[Key, tuple[str, dict[str, Outcome]]]:
        """Say what a report has found out about each event, at its leaf and by the chains of the
        groups over it.

        Where the routes below know an event no more, a sibling has just finished it, whose report
        is still to come; it counts as delivered here as long as nothing else is known.
        """
        leaf, ended = report.leaf, report.finished
        tried = [item for item in report.again if item.had and item.dead is None]
        asked = [
            item.event.id
            for item in (*report.done, *report.dead, *tried)
            if item.event.id not in ended
        ]
        progress = self._downstream.progress(asked) if asked else {}
        found: dict[Key, tuple[str, dict[str, Outcome]]] = {}
        for items, outcome in (
            (report.done, Outcome.DELIVERED),
            (report.dead, Outcome.DEAD_LETTERED),
            (tried, Outcome.PENDING),
        ):
            for item in items:
                now = progress.get(item.event.id, {})
                known = (
                    {path: now[path] for path in self._routes.groups if path in now} if now else {}
                )
                known[leaf] = now.get(leaf, outcome) if items is report.done else outcome
                found[item.key] = (item.event.id, known)
        return found

    def write(self, entries: Sequence[Entry], stored: Mapping[str, Collection[Key]]) -> Changes:
        """Write down reports. Return what the books of the groups got.

        Args:
            stored: By leaf, the places that have a row of their own.
        """
        moves: dict[Key, Move] = {}
        fresh: dict[
            str, set[Key]
        ] = {}  # the rows that an earlier entry of this transaction has made
        for entry in entries:
            leaf = entry.report.leaf
            rows = fresh.setdefault(leaf, set())
            self.write_rows(entry, stored[leaf], rows)
            rows.update(item.key for item in (*entry.again, *entry.untried))
            self._note_moves(entry, stored[leaf], moves)
        return self.settle(moves)

    def write_rows(
        self, entry: Entry, stored: Collection[Key], fresh: Collection[Key] = ()
    ) -> None:
        """Write down what of a report concerns its leaf alone."""
        report, leaf, execute = entry.report, entry.report.leaf, self._state.connection.executemany
        gone = [(leaf, *key) for key in entry.ended if key in stored or key in fresh]
        execute("DELETE FROM retries WHERE leaf = ? AND file = ? AND offset = ?", gone)
        execute(_PUT_RETRY, [_bare_row(leaf, item, False) for item in entry.untried])
        make = _bare_row if entry.stripped else _row
        execute(_PUT_RETRY, [make(leaf, item, item.had) for item in entry.again])
        self._state.move_cursors(leaf, entry.places)
        self._state.add_counts(leaf, entry.counts)
        self._state.add_counts(self._routes.path, entry.own)
        self._write_dead(report)

    def _write_dead(self, report: Report) -> None:
        execute = self._state.connection.executemany
        new = [_dead_row(report.leaf, item) for item in report.dead if item.dead is None]
        if new:
            self.has_dead = True
            execute(_PUT_DEAD, new)
        if self.has_dead:
            execute(
                "DELETE FROM dead WHERE number = ?",
                [(i.dead,) for i in report.done if i.dead is not None],
            )
            execute(
                "UPDATE dead SET state = 'dead' WHERE number = ?",
                [(i.dead,) for i in report.dead if i.dead],
            )

    def _note_moves(self, entry: Entry, stored: Collection[Key], moves: dict[Key, Move]) -> None:
        replayed = {
            item.key for item in (*entry.report.done, *entry.report.dead) if item.dead is not None
        }
        for key, (event_id, known) in entry.known.items():
            move = moves.get(key)
            if move is None:
                has_row = self._several or key in stored or key in replayed
                before = self.read(key) if has_row else None
                move = moves[key] = Move(event_id, before, before or {})
            move.after = {**move.after, **known}
        for key, outcome in entry.finished.items():
            move = moves[key]
            move.ended = outcome if move.ended is None else max(move.after.values())
            move.after = _agreeing(move.after, entry.report.leaf, move.ended)

    def read(self, key: Key) -> Mapping[str, Outcome] | None:
        """Read how an unfinished event stands."""
        query = "SELECT known FROM progress WHERE file = ? AND offset = ?"
        row = self._state.connection.execute(query, key).fetchone()
        return None if row is None else unpack_known(row[0])

    def settle(self, moves: Mapping[Key, Move], former: Routes | None = None) -> Changes:
        """Write down how events stand now, and what that changes in the books of the groups and the
        buffer.

        Args:
            former: The routes that the state was written for, if they were others.
        """
        execute = self._state.connection.executemany
        going = [(k, m) for k, m in moves.items() if m.ended is None]
        ended = {k: self._own(m) for k, m in moves.items() if m.ended is not None}
        execute(_PUT_PROGRESS, [(*k, from_id(m.event_id), pack_known(m.after)) for k, m in going])
        over = [key for key in ended if moves[key].before is not None]
        execute("DELETE FROM progress WHERE file = ? AND offset = ?", over)
        self._state.add_outcomes(self._routes.path, ended.values())
        if self.has_dead:
            execute(
                "UPDATE dead SET own = ?, known = ?, reopened = 0 WHERE file = ? AND offset = ?",
                [
                    (int(o), pack_known(moves[k].after), *k)
                    for k, o in ended.items()
                    if o >= Outcome.DEAD_LETTERED
                ],
            )
        return self._book(moves.values(), former or self._routes)

    def _own(self, move: Move) -> Outcome:
        """The outcome of an event as a whole: also that of a route that the config has no
        longer.
        """
        assert move.ended is not None  # noqa: S101 - callers have looked
        routes = self._routes
        gone = [
            o
            for path, o in move.after.items()
            if path not in routes.leaves and path not in routes.groups
        ]
        return max(move.ended, *gone) if gone else move.ended

    def _book(self, moves: Iterable[Move], former: Routes) -> Changes:
        changes: Changes = {}
        routes = self._routes
        if not routes.groups:
            return changes
        same = Counter(
            (_items(m.before), _items(m.after), m.ended is not None) for m in moves
        )  # few are different
        for (before, after, final), count in same.items():
            for group in routes.groups:
                old = None if before is None else former.at_group(group, dict(before))
                add_change(
                    changes, group, old, routes.at_group(group, dict(after or ()), final), count
                )
        for path, change in changes.items():
            self._state.add_counts(path, change)
        return changes


def _items(known: Mapping[str, Outcome] | None) -> tuple[tuple[str, Outcome], ...] | None:
    return None if known is None else tuple(known.items())


def _agreeing(known: Mapping[str, Outcome], leaf: str, ended: Outcome) -> dict[str, Outcome]:
    """Make what is known of a finished event agree with what became of it as a whole; some of it
    may have been guessed.
    """
    agreed = {path: min(outcome, ended) for path, outcome in known.items()}
    if ended is Outcome.FAILED and ended not in agreed.values():
        guessed = [path for path in (leaf, *agreed) if agreed[path] is Outcome.DELIVERED]
        agreed.update(dict.fromkeys(guessed[:1], ended))
    return agreed


def _row(leaf: str, item: Item, had: bool) -> Sequence[Any]:
    return (leaf, *item.key, item.attempts, had, item.first_at, item.last_at, to_words(item.reason))


def _bare_row(leaf: str, item: Item, had: bool) -> Sequence[Any]:
    """Of an item that nothing was reported of; another thread may be noting its failure
    just now.
    """
    return (leaf, *item.key, 0, had, 0.0, 0.0, "")


def _dead_row(leaf: str, item: Item) -> Sequence[Any]:
    event, payload = item.event, codec.encode(item.event)
    words = to_words(event.name), to_words(item.reason)
    return (
        *item.key,
        from_id(event.id),
        leaf,
        *words,
        item.attempts,
        item.first_at,
        item.last_at,
        payload,
        item.stored_at,
    )
