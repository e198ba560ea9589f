"""How the report of a lane becomes rows of the state."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final

import attrs
import msgspec

from eventtracking import Outcome
from eventtracking.protocols import Downstream
from eventtracking_buffer import codec
from eventtracking_buffer._item import Item
from eventtracking_buffer._lane import Report
from eventtracking_buffer._state import State

__all__ = ["Entry", "Key", "ReportWriter"]

Key = tuple[str, int]
"""The place of an event: the journal's file, and the offset."""


_MAX_ENDED: Final = 10_000
"""Events whose end is remembered for the rows that come after it; siblings report within a moment of each other."""


@attrs.define(eq=False)
class Entry:
    """A report and what the journal's state was then."""

    report: Report
    ended: set[Key]
    """What is final at the leaf now."""
    again: list[Item]
    """What is behind the place, and not final at the leaf."""
    places: dict[str, tuple[int, int]]

    def finished_keys(self) -> Iterable[tuple[Key, str]]:
        """The place and id of each event that the report ends at its leaf."""
        return ((item.key, item.event.id) for item in (*self.report.done, *self.report.dead) if item.dead is None)


class ReportWriter:
    """Writes reports into the state.

    Args:
        state: Where to.
        downstream: The routes below, which know how far an unfinished event has come.
    """

    def __init__(self, state: State, downstream: Downstream) -> None:
        self._state = state
        self._downstream = downstream
        self._ended: dict[str, int] = {}
        self.has_dead = False
        """Whether there may be dead letters. Without any, less is to be done."""

    def write(self, entry: Entry, finished: Collection[str], stored: Collection[Key]) -> None:
        """Write down one report. Inside a transaction.

        Args:
            finished: The ids of the events that this report, or another one of the same transaction, ends everywhere.
            stored: The places that have a row of their own.
        """
        report, leaf, execute = entry.report, entry.report.leaf, self._state.connection.executemany
        execute(
            "DELETE FROM retries WHERE leaf = ? AND file = ? AND offset = ?",
            [(leaf, *key) for key in entry.ended if key in stored],
        )
        rows = [_row(leaf, item) for item in entry.again]
        execute("INSERT OR REPLACE INTO retries VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
        self._state.move_cursors(leaf, entry.places)
        self._state.add_outcomes(
            self._downstream.path,
            [report.finished[i.event.id] for i in (*report.done, *report.dead) if i.event.id in report.finished],
        )
        self._write_progress(report, finished)
        self._write_dead(report)

    def _write_progress(self, report: Report, finished: Collection[str]) -> None:
        """Note how far unfinished events have come, for the case that this process dies.

        Where the routes below know an event no more, a sibling has just finished it, whose report is still to come.
        """
        if len(self._downstream.leaves) == 1:
            return
        guess = {item.event.id: {report.leaf: Outcome.DELIVERED} for item in report.done}
        guess |= {item.event.id: {report.leaf: Outcome.DEAD_LETTERED} for item in report.dead}
        ids = {*guess, *(item.event.id for item in report.again)}
        known = guess | self._downstream.progress(ids.difference(finished))
        self._state.connection.executemany(
            "INSERT OR REPLACE INTO progress VALUES (?, ?)",
            [
                (event_id, msgspec.json.encode(known[event_id]).decode())
                for event_id in ids.difference(finished)
                if event_id in known
            ],
        )
        done = [(event_id,) for event_id in ids & report.finished.keys()]
        self._state.connection.executemany("DELETE FROM progress WHERE event_id = ?", done)

    def _write_dead(self, report: Report) -> None:
        execute = self._state.connection.executemany
        new = [item for item in report.dead if item.dead is None]
        if new:
            self.has_dead = True
            execute(
                "INSERT INTO dead (event_id, leaf, name, reason, attempts, first_at, last_at, payload, stored_at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [_dead_row(report.leaf, item) for item in new],
            )
            # The report that ended the event may have been written before this one, of a sibling.
            execute(
                "UPDATE dead SET own = ? WHERE event_id = ? AND own IS NULL",
                [(self._ended[i.event.id], i.event.id) for i in new if i.event.id in self._ended],
            )
        self._note_ended(report)
        if self.has_dead:
            execute("DELETE FROM dead WHERE number = ?", [(i.dead,) for i in report.done if i.dead is not None])
            execute("UPDATE dead SET state = 'dead' WHERE number = ?", [(i.dead,) for i in report.dead if i.dead])
            execute(
                "UPDATE dead SET own = ?, reopened = 0 WHERE event_id = ?",
                [(int(outcome), event_id) for event_id, outcome in report.finished.items()],
            )

    def _note_ended(self, report: Report) -> None:
        """Remember the events that have ended with a dead letter, whose row may be still to come."""
        ended = {i: int(outcome) for i, outcome in report.finished.items() if outcome >= Outcome.DEAD_LETTERED}
        self._ended.update(ended)
        while len(self._ended) > _MAX_ENDED:
            del self._ended[next(iter(self._ended))]


def _row(leaf: str, item: Item) -> Sequence[Any]:
    return (leaf, *item.key, item.event.id, item.attempts, item.had, item.first_at, item.last_at, item.reason)


def _dead_row(leaf: str, item: Item) -> Sequence[Any]:
    payload = codec.encode(item.event)
    return (
        item.event.id, leaf, item.event.name, item.reason, item.attempts, item.first_at, item.last_at, payload, item.stored_at
    )  # fmt: skip
