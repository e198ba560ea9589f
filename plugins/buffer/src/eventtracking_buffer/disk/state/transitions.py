"""Reports of lanes become rows of the state, and counts. All of it is for inside a transaction."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Final

import attrs
import msgspec

from eventtracking import Outcome
from eventtracking.counts import reason_text
from eventtracking.standing import Routes, Standing, from_names, to_names
from eventtracking_buffer import codec
from eventtracking_buffer.delivery.attempt import Report
from eventtracking_buffer.delivery.queue import QueuedEvent
from eventtracking_buffer.delivery.standings import Transition, has_failed
from eventtracking_buffer.disk.state.connection import State, from_id, to_words

__all__ = ["Key", "ReportWriter", "pack", "unpack"]

Key = tuple[str, int]
"""The place of an event: the journal's file, and the offset. It tells events of one id apart."""

_PUT_RETRY: Final = "INSERT OR REPLACE INTO retries VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_PUT_PROGRESS: Final = "INSERT OR REPLACE INTO progress VALUES (?, ?, ?, ?)"
_PUT_DEAD: Final = (
    "INSERT INTO dead (file, offset, event_id, leaf, name, reason, attempts, first_at, last_at,"
    " payload, stored_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_KEEP_DEAD: Final = "UPDATE dead SET state = 'dead' WHERE number = ?"
"""After a replay that failed, the letter is as it was."""
_DEAD, _FAILED, _PENDING = Outcome.DEAD_LETTERED, Outcome.FAILED, Outcome.PENDING
_NOT_KEPT: Final = "its dead letter could not be stored"


def pack(standing: Standing) -> str:
    """Turn a standing into text for the state."""
    return msgspec.json.encode(to_names(standing)).decode("utf-8", "backslashreplace")


def unpack(text: str | None) -> Standing:
    """Turn what `pack` has made back, or what an earlier version has."""
    return {} if text is None else from_names(msgspec.json.decode(text))


class ReportWriter:
    """Writes reports into the state."""

    def __init__(self, state: State, routes: Routes) -> None:
        self._state = state
        self.routes = routes
        self.counted = routes
        """With the routes that the config lost, and events still wait for."""
        self.has_dead = True
        """Whether there may be dead letters. Without any, less is to be done."""
        self.has_buried = True
        """Whether there may be more dead letters than when their limits were last looked at."""

    def write(
        self,
        execute: Callable[..., object],
        reports: Sequence[Report],
        stored: Mapping[str, Collection[Key]],
        several: bool,
        stripped: bool = False,
    ) -> None:
        """Write down reports.

        Args:
            execute: `executemany` of the transaction.
            stored: By lane, the events that have a row of their own.
            several: Whether there is more than one lane, so that any event may have a row.
            stripped: Whether to leave out the words, which cannot be stored.
        """
        moves: dict[Key, tuple[str, Transition]] = {}
        fresh: set[tuple[str, Key]] = set()
        for report in reports:
            lane = report.lane
            self._write_rows(execute, report, stored.get(lane, ()), fresh, stripped)
            for item, news in report.news:
                known = moves.get(item.key)
                if known is not None:
                    found = Transition.of(self.routes, known[1].after, news)
                    found = attrs.evolve(found, before=known[1].before)
                else:
                    asked = several or item.letter is not None or item.key in stored.get(lane, ())
                    before = self.read(item.key) if asked else None
                    found = Transition.of(self.routes, before, news)
                moves[item.key] = item.event.id, found
        self.move(moves)

    def _write_rows(
        self,
        execute: Callable[..., object],
        report: Report,
        stored: Collection[Key],
        fresh: set[tuple[str, Key]],
        stripped: bool,
    ) -> None:
        lane = report.lane
        done = [item for item in report.done if item.letter is None]
        gone = [i.key for i in done if i.key in stored or (lane, i.key) in fresh]
        execute(
            "DELETE FROM retries WHERE leaf = ? AND file = ? AND offset = ?",
            [(lane, *key) for key in gone],
        )
        again = [item for item in report.again if item.letter is None]
        self.put_retries(lane, again, stripped)
        fresh.update((lane, item.key) for item in again)
        self._write_letters(report, execute, stripped)
        if report.reasons:
            self._state.add_reasons(report.reasons)

    def put_retries(self, lane: str, items: Sequence[QueuedEvent], bare: bool = False) -> None:
        """Note events that wait for another attempt of a lane."""
        if not items:
            return
        rows = [
            (lane, *i.key, i.attempts, i.attempted, i.first_at, i.last_at, "" if bare else i.reason)
            for i in items
        ]
        self._state.connection.executemany(_PUT_RETRY, rows)

    def _write_letters(
        self, report: Report, execute: Callable[..., object], stripped: bool
    ) -> None:
        if not report.letters and not self.has_dead:
            return
        kept = {id(item) for item, _ in report.letters if item.letter is not None}
        arrived = [i for i in report.done if i.letter is not None and id(i) not in kept]
        execute("DELETE FROM dead WHERE number = ?", [(item.letter,) for item in arrived])
        failed = [(item.letter,) for item, _ in report.letters if item.letter is not None]
        execute(_KEEP_DEAD, failed)
        new = [(item, leaf) for item, leaf in report.letters if item.letter is None]
        if stripped:
            self._fail_letters(report, new)
            return
        if new:
            self.has_dead = self.has_buried = True
        execute(_PUT_DEAD, [_dead_row(item, leaf) for item, leaf in new])

    def _fail_letters(self, report: Report, letters: Sequence[tuple[QueuedEvent, str]]) -> None:
        """Fail events whose dead letters cannot be stored."""
        for item, leaf in letters:
            for other, news in report.news:
                if other is item:
                    news[leaf] = _FAILED
            report.remark(leaf, reason_text(_FAILED, _NOT_KEPT))

    def read(self, key: Key) -> Standing | None:
        """Read how an unfinished event stands; None if no lane has had it."""
        query = "SELECT known FROM progress WHERE file = ? AND offset = ?"
        row = self._state.connection.execute(query, key).fetchone()
        return None if row is None else unpack(row[0])

    def move(self, moves: Mapping[Key, tuple[str, Transition]]) -> None:
        """Write down how events stand now, and what that changes in the counts."""
        execute = self._state.connection.executemany
        going = [(k, i, t) for k, (i, t) in moves.items() if t.ended is None]
        ended = [(k, t) for k, (_, t) in moves.items() if t.ended is not None]
        execute(_PUT_PROGRESS, [(*k, from_id(i), pack(t.after)) for k, i, t in going])
        execute(
            "DELETE FROM progress WHERE file = ? AND offset = ?",
            [k for k, t in ended if t.before is not None],
        )
        if self.has_dead:
            execute(
                "UPDATE dead SET own = ?, known = ?, reopened = 0 WHERE file = ? AND offset = ?",
                [(t.ended.label, pack(t.after), *k) for k, t in ended if t.ended],  # not filtered
            )
        self._count(t for _, t in moves.values())

    def _count(self, transitions: Iterable[Transition]) -> None:
        same: dict[int, tuple[Transition, int]] = {}  # events that move alike share one object
        for found in transitions:
            same[id(found)] = found, same.get(id(found), (found, 0))[1] + 1
        total: dict[str, dict[str, int]] = {}
        for found, count in same.values():
            for path, old, new in found.changes(self.counted):
                add_change(total, path, old, new, count)
            again = found.before is not None and has_failed(self.routes, found.before)
            if found.ended is not None and not again:
                own = total.setdefault(self.routes.path, {})
                own[found.ended.label] = own.get(found.ended.label, 0) + count
        for path, change in total.items():
            self._state.add_counts(path, change)


def add_change(
    total: dict[str, dict[str, int]],
    path: str,
    before: Outcome | None,
    after: Outcome | None,
    count: int = 1,
) -> None:
    """Add to the changes of the counts; None: the event is not counted there."""
    change = total.setdefault(path, {})
    for outcome, amount in ((before, -count), (after, count)):
        if outcome is not None:
            change[outcome.label] = change.get(outcome.label, 0) + amount
            change["received"] = change.get("received", 0) + amount


def _dead_row(item: QueuedEvent, leaf: str) -> Sequence[Any]:
    event = item.event
    words = to_words(event.name), to_words(item.reason)
    payload = item.raw if item.raw is not None else codec.encode(event)
    row = item.attempts, item.first_at, item.last_at, payload, item.stored_at
    return (*item.key, from_id(event.id), leaf, *words, *row)
