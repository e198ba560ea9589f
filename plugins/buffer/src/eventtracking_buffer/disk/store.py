"""The store on disk, as the delivering process sees it: the journal for each lane, and the state.

A report is written in one transaction: the rows of its events, the place of its lane, and the
counts. How an event stood before is read there, too. So what is in memory can always be thrown
away, and a process that dies leaves all of a report or nothing::

    lane A: take ---- deliver ---- report: {A: delivered}            -> progress
    lane B:     take ---- deliver ------- report: {B: delivered}     -> settled, counted, no row
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from eventtracking import Counts, Outcome
from eventtracking.counts import reason_text
from eventtracking.protocols import Downstream
from eventtracking_buffer import codec
from eventtracking_buffer.delivery.attempt import Report
from eventtracking_buffer.delivery.clock import Clock
from eventtracking_buffer.delivery.queue import QueuedEvent
from eventtracking_buffer.disk.folder import FolderWatch, write_aside
from eventtracking_buffer.disk.journal.files import journal_files
from eventtracking_buffer.disk.journal.reader import Found, JournalReader, RecentEvents, stub
from eventtracking_buffer.disk.journal.records import Record, count_damaged
from eventtracking_buffer.disk.lane_state import LaneState
from eventtracking_buffer.disk.state.connection import State
from eventtracking_buffer.disk.state.transitions import Key, ReportWriter

__all__ = ["DAMAGED", "UNFIT", "DiskStore"]

UNFIT: Final = (
    ValueError,
    TypeError,
    OverflowError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
    sqlite3.DataError,
)
"""Raised by SQLite for a value that it cannot store; anything else is the medium's."""
DAMAGED: Final = "damaged on disk"
_LATER: Final = "written by a later version"
_DEAD, _FAILED = Outcome.DEAD_LETTERED, Outcome.FAILED
_LOOK_AGAIN_S: Final = 5.0


class DiskStore:
    """Serves the lanes of the one process that delivers.

    Its lock is never held while user code runs.

    Args:
        tell: Has the log told that something happened to so many events.
    """

    def __init__(
        self,
        folder: Path,
        downstream: Downstream,
        state: State,
        clock: Clock,
        tell: Callable[[str, int], None],
    ) -> None:
        self.folder = folder
        self.state = state
        self.routes = downstream.routes
        self.clock = clock
        self.tell = tell
        self.lock = threading.RLock()
        self.lanes = {lane: LaneState(tuple(leaves)) for lane, leaves in downstream.lanes.items()}
        self.writer = ReportWriter(state, self.routes)
        self.recent = RecentEvents(once=len(self.lanes) == 1)
        self.closed = False
        self._unwritten: list[Report] = []
        self._mean_bytes = 0.0
        self._watch = FolderWatch(folder, clock.monotonic, _LOOK_AGAIN_S)
        self._sizes: dict[str, int] = {}
        self._reported = True

    # For the lanes

    def waiting(self, lane: str) -> int:
        """Return about how many events wait for their first delivery."""
        unread = sum(reader.unread for reader in list(self.lanes[lane].readers.values()))
        return max(1, round(unread / self._mean_bytes)) if unread and self._mean_bytes else unread

    def take(self, lane: str, max_events: int, max_bytes: int) -> list[QueuedEvent]:
        """Take the next events for a lane from the journal."""
        with self.lock:  # the oldest events may be given up meanwhile
            return self._take(lane, max_events, max_bytes)

    def _take(self, lane: str, max_events: int, max_bytes: int) -> list[QueuedEvent]:
        found = Found(max_events, max_bytes, self.recent)
        pass_over = partial(self._pass_over, lane)
        for reader in list(self.lanes[lane].readers.values()):
            if not reader.unread:
                continue
            with contextlib.suppress(OSError):  # what was read counts; the rest comes next time
                if not found.read(reader, pass_over, self._set_aside_event):
                    break
                self._end_of_file(reader)
        for items in (found.items, found.lost, found.later):
            self.lanes[lane].taken.update([(item.key, item) for item in items])
        for item in found.items:
            self._mean_bytes += (item.size - self._mean_bytes) * (0.1 if self._mean_bytes else 1.0)
        if found.lost:
            self.fail(lane, found.lost, DAMAGED)
        if found.later:
            self.bury(lane, found.later, _LATER)
        return found.items

    def _set_aside_event(self, file: str, record: Record, error: codec.FormatError) -> None:
        reasons = {reason_text(_FAILED, str(error)): 1}
        self.set_aside(file, record.start, record.payload, str(error), Counts(reasons=reasons))

    def _pass_over(self, lane: str, reader: JournalReader, record: Record, found: Found) -> None:
        """Lose a damaged piece. Other lanes may have read events there while they were whole."""
        file, start = reader.name, record.start
        had = self._events_in(lane, file, start, record.end)
        reader.records += len(had)
        found.lost.extend(stub(file, key[1], record, event_id) for key, event_id in had.items())
        goes_on = start == reader.damaged_to
        count = 1 if record.is_whole else count_damaged(record.payload, goes_on)
        if had or count:
            unread = max(count - len(had), 0)
            reasons = {reason_text(_FAILED, DAMAGED): len(had) + unread}
            own = Counts(received=unread, failed=unread, reasons=reasons)
            self.set_aside(file, start, record.payload, DAMAGED, own)

    def _events_in(self, lane: str, file: str, start: int, end: int) -> dict[Key, str]:
        if len(self.lanes) == 1:
            return {}
        query = "SELECT offset, event_id FROM progress WHERE file = ? AND offset BETWEEN ? AND ?"
        rows = self.state.rows(query, file, start, end - 1)
        found = {(file, int(offset)): str(event_id) for offset, event_id in rows}
        for other, state in self.lanes.items():
            for key, item in state.taken.items() if other != lane else ():
                if key[0] == file and start <= key[1] < end:
                    found[key] = item.event.id
        return found

    def _end_of_file(self, reader: JournalReader) -> None:
        """Pass over what a dead writer left unfinished."""
        if not reader.unread or not reader.is_final:
            return
        if next(reader.read(), None) is not None:  # it was finished in the meantime
            return
        left, rest = reader.unread, reader.rest()
        self.set_aside(reader.name, reader.offset, rest, "torn", Counts(reasons={"torn": 1}))
        reader.skip(left)

    def set_aside(self, file: str, offset: int, data: bytes, why: str, own: Counts) -> None:
        """Keep a damaged piece for a person to look at, and count it, once."""
        if self.state.rows("SELECT 1 FROM seen WHERE file = ? AND offset = ?", file, offset):
            return
        self.keep_aside(f"{file}-{offset}", data)
        with self.state.transaction():
            if self.state.note_place(file, offset, why, self.clock.time()):
                self.state.add_counts(self.routes.path, own)
        self.tell(f"set aside: {why}", max(own.failed, 1))

    def keep_aside(self, name: str, data: bytes) -> None:
        """Write a file for a person to look at."""
        with contextlib.suppress(OSError):
            write_aside(self.folder, name, data)

    def fail(self, lane: str, items: Sequence[QueuedEvent], reason: str, own: bool = False) -> None:
        """Fail events that wait for a lane."""
        self._end(lane, items, _FAILED, reason, own)

    def bury(self, lane: str, items: Sequence[QueuedEvent], reason: str) -> None:
        """Make dead letters of events that wait for a lane."""
        for item in items:
            item.reason = reason
            item.first_at = item.last_at = item.last_at or self.clock.time()
        self._end(lane, items, _DEAD, reason, own=False)

    def _end(
        self, lane: str, items: Sequence[QueuedEvent], outcome: Outcome, reason: str, own: bool
    ) -> None:
        report = Report(lane, done=list(items))
        text = reason_text(outcome, reason)
        for item in items:
            leaves = item.leaves or self.lanes[lane].leaves
            report.news.append((item, dict.fromkeys(leaves, outcome)))
            for leaf in leaves:
                report.remark(leaf, text)
                if outcome is _DEAD:
                    report.letters.append((item, leaf))
        if own:
            report.remark(self.routes.path, text, len(items))
        self.report(report)

    # Writing

    def report(self, report: Report) -> None:
        """Write down what became of a batch. If the medium refuses, the next one brings it."""
        with self.lock:
            if self.closed:
                return
            self._unwritten.append(report)
            try:
                self.write()
            except (OSError, sqlite3.Error) as error:
                refused = f"delivered, but the disk refused to note it ({type(error).__name__})"
                self.tell(refused, len(report.done))

    def write(self) -> None:
        """Write down what has not been yet.

        Raises:
            sqlite3.Error: If the medium refuses.
        """
        with self.lock:
            reports = list(self._unwritten)
            if not reports:
                return
            try:
                self._commit(reports)
            except UNFIT as error:
                self.state.rows("SELECT 1")
                self._commit_each(reports, error)
            self._unwritten = []
            self._reported = True

    def _commit_each(self, reports: Sequence[Report], error: Exception) -> None:
        """Keep one bad report from blocking the others: its dead letters have failed then."""
        for report in reports:
            try:
                self._commit([report])
            except UNFIT:
                for item, _ in report.letters:
                    if item.letter is None:
                        self.keep_aside(
                            f"letter-{item.key[0]}-{item.key[1]}", codec.encode(item.event)
                        )
                self.tell(
                    f"could not be noted as they were ({type(error).__name__})", len(report.news)
                )
                self._commit([report], stripped=True)

    def _commit(self, reports: Sequence[Report], stripped: bool = False) -> None:
        stored = {lane: state.stored for lane, state in self.lanes.items()}
        with self.state.transaction() as connection:
            untried = self._write_all_places(reports)
            execute = connection.executemany
            self.writer.write(execute, reports, stored, len(self.lanes) > 1, stripped)
        for report in reports:
            if report.lane in self.lanes:
                _settle(self.lanes[report.lane], report, untried[report.lane])

    def _write_all_places(self, reports: Sequence[Report]) -> dict[str, list[QueuedEvent]]:
        lanes = {report.lane for report in reports if report.lane in self.lanes}
        return {lane: self._write_places(lane, reports) for lane in lanes}

    def _write_places(self, lane: str, reports: Sequence[Report]) -> list[QueuedEvent]:
        """Note how far a lane has read; what it has read and not tried yet gets a row."""
        state = self.lanes[lane]
        told = {
            item.key
            for report in reports
            if report.lane == lane
            for item in (*report.done, *report.again)
        }
        untried = [item for key, item in state.taken.items() if key not in told]
        self.writer.put_retries(lane, untried, bare=True)
        places = {name: (reader.offset, reader.records) for name, reader in state.readers.items()}
        self.state.move_cursors(lane, places)
        return untried

    # Housekeeping, on the housekeeper's thread

    def refresh(self) -> None:
        """Look for new files of the journal."""
        if not self._watch.has_changed():
            return
        names = journal_files(self.folder)
        retired = {name for (name,) in self.state.rows("SELECT file FROM retired")}
        with self.lock:
            for state in self.lanes.values():
                self._refresh_lane(state, [name for name in names if name not in retired])

    def _refresh_lane(self, state: LaneState, names: Sequence[str]) -> None:
        known = state.readers
        fresh = {name: known.get(name) or JournalReader(self.folder / name) for name in names}
        for name, reader in known.items():
            if name not in fresh:  # deleted, and not by this process
                if reader.unread:
                    self.tell("may be lost: a file of the journal was deleted", 0)
                reader.vanish()
                fresh[name] = reader
        state.readers = dict(sorted(fresh.items()))

    def has_grown(self) -> bool:
        """Return whether a file has come, has another size than the last time, or has ended."""
        sizes = {}
        for name, reader in list(next(iter(self.lanes.values())).readers.items()):
            if not reader.was_final:
                with contextlib.suppress(FileNotFoundError):
                    sizes[name] = reader.size()
        grown, self._sizes = sizes != self._sizes, sizes
        return grown

    def look_for_ended_writers(self) -> None:
        """Ask no more for the size of files that no process writes any longer."""
        for reader in list(next(iter(self.lanes.values())).readers.values()):
            _ = reader.is_final

    def look_for_done_files(self) -> None:
        """Have `retire` look again."""
        self._reported = True

    def retire(self, own_file: str) -> None:
        """Delete the files that every lane is done with."""
        if not self._reported:
            return
        self._reported = False
        with self.lock:
            names = list(next(iter(self.lanes.values())).readers)
            busy = set[str]().union(*(state.open_files for state in self.lanes.values()))
        for name in names:
            if name != own_file and name not in busy:
                self._retire(name)

    def _retire(self, name: str) -> None:
        with self.lock:
            readers = [s.readers[name] for s in self.lanes.values() if name in s.readers]
            if len(readers) < len(self.lanes) or not all(reader.is_final for reader in readers):
                self._reported = True  # its writer lives, and may end without another report
                return
            if any(reader.unread for reader in readers):
                return
            with self.state.transaction():
                if not self._may_retire(name, readers):
                    return
                self.state.retire(name, self.routes.path, readers[0].records)
            for state in self.lanes.values():
                state.readers.pop(name, None)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.folder / name)  # noqa: PTH108 - the name is all there is

    def _may_retire(self, name: str, readers: Sequence[JournalReader]) -> bool:
        rows = self.state.connection.execute
        if rows("SELECT 1 FROM retries WHERE file = ? LIMIT 1", (name,)).fetchone():
            return False
        noted = rows("SELECT records FROM cursors WHERE file = ?", (name,)).fetchall()
        behind = len(noted) < len(readers) or min(noted)[0] < readers[0].records
        return not (behind and readers[0].records)

    def give_up_oldest(self, lane: str, count: int, reason: str) -> int:
        """Fail the oldest events that a lane has not had; return how many there were."""
        with self.lock:
            return self._give_up_oldest(lane, count, reason)

    def _give_up_oldest(self, lane: str, count: int, reason: str) -> int:
        given = 0
        while given < count:
            items = self._take(lane, count - given, 1 << 62)
            if not items:
                break
            self.fail(lane, items, reason, own=True)
            given += len(items)
        return given

    def note_lanes(self, rows: Sequence[tuple[Any, ...]]) -> None:
        """Write down how the lanes are, for people who look in from elsewhere."""
        with self.state.transaction() as connection:
            connection.execute("DELETE FROM lanes")
            connection.executemany("INSERT INTO lanes VALUES (?, ?, ?, ?, ?)", rows)

    def close(self) -> None:
        """Note nothing any more: another process may deliver from now on."""
        with self.lock:
            self.closed = True


def _settle(state: LaneState, report: Report, untried: Sequence[QueuedEvent]) -> None:
    for item in report.done:
        state.taken.pop(item.key, None)
        if item.letter is None:
            state.stored.discard(item.key)
    for item in (*report.again, *untried):
        state.taken.pop(item.key, None)
        if item.letter is None:
            state.stored.add(item.key)
