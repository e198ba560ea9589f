"""The buffer on disk, as the delivering process sees it: reads the journal for each leaf, and keeps
the state.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import attrs

from eventtracking import Counts, Outcome
from eventtracking.protocols import Downstream
from eventtracking_buffer import codec
from eventtracking_buffer._books import Balance
from eventtracking_buffer._clock import monotonic
from eventtracking_buffer._desk import Desk, peek, stub, unknown_id
from eventtracking_buffer._folder import write_aside
from eventtracking_buffer._item import Item
from eventtracking_buffer._journal import JournalReader, is_abandoned, journal_files
from eventtracking_buffer._lane import Lane, Report
from eventtracking_buffer._records import EVENT, Record
from eventtracking_buffer._reports import Changes, Entry, Key, ReportWriter
from eventtracking_buffer._requests import Requests
from eventtracking_buffer._standing import Routes, minus
from eventtracking_buffer._state import State, to_words
from eventtracking_buffer._succession import Succession

__all__ = ["DiskStore"]

_UNFIT: Final = (
    ValueError,
    TypeError,
    OverflowError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
    sqlite3.DataError,
)
"""What SQLite raises for a value that it cannot store; anything else is the medium's."""
_DAMAGED: Final = "damaged on disk"


class DiskStore:
    """Serves the lanes of the one process that delivers.

    Its lock is never held while user code runs.

    Args:
        tell: Has the log told that something happened to so many events.
    """

    def __init__(
        self, folder: Path, downstream: Downstream, state: State, tell: Callable[[str, int], None]
    ) -> None:
        self.folder = folder
        self.state = state
        self.downstream = downstream
        self.routes = Routes(downstream.path, downstream.leaves)
        self.tell = tell
        self.lock = threading.RLock()
        self.desks = {leaf: Desk() for leaf in downstream.leaves}
        self.owners: dict[str, Key] = {}
        """By id, the place of the event that is unfinished: others of the same id wait for it."""
        self.writer = ReportWriter(state, downstream, self.routes)
        self.closed = False
        self._lanes: dict[str, Lane] = {}
        self._several = len(downstream.leaves) > 1
        self._unwritten: list[Entry] = []
        self._taken: dict[str, Counts] = {}
        """What was counted below, and what of it belongs to events whose report has not come yet,
        or waits for another.
        """
        self._requests = Requests(self)
        self._writing = False
        self._mean_bytes = 0.0
        self._noted_lanes: list[Any] = []

    # For the lanes

    def waiting(self, leaf: str) -> int:
        """Return about how many events wait for their first delivery to a leaf."""
        readers = list(self.desks[leaf].readers.values())
        unread = sum(reader.unread for reader in readers)
        if not unread:
            return 0
        if not self._mean_bytes:
            sizes = [
                record.end - record.start
                for reader in readers
                if (record := peek(reader)) is not None
            ]
            self._mean_bytes = float(max(sizes, default=0))
        return max(1, round(unread / self._mean_bytes)) if self._mean_bytes else 1

    def take(self, leaf: str, max_events: int, max_bytes: int) -> list[Item]:
        """Take the next events for a leaf from the journal."""
        with self.lock:  # somebody may give up the oldest events meanwhile
            return self._take(leaf, max_events, max_bytes)

    def _take(self, leaf: str, max_events: int, max_bytes: int) -> list[Item]:
        items: list[Item] = []
        lost: list[Item] = []
        for reader in list(self.desks[leaf].readers.values()):
            if not reader.unread:
                continue
            with contextlib.suppress(
                OSError
            ):  # what was read before counts; the rest is read the next time
                if not self._read(reader, items, lost, max_events, max_bytes):
                    break
                self._end_of_file(reader)
        self.desks[leaf].unstored.update((item.key, item) for item in (*items, *lost))
        if lost:
            self._lose(leaf, lost, _DAMAGED, Counts())
        return items

    def _read(
        self,
        reader: JournalReader,
        items: list[Item],
        lost: list[Item],
        max_events: int,
        max_bytes: int,
    ) -> bool:
        """Read until there is enough; return whether more is wanted."""
        total = sum(item.size for item in items)
        for record in reader.read():
            size = record.end - record.start
            if len(items) >= max_events or (items and total + size > max_bytes):
                return False
            item = self._item(reader, record, lost)
            reader.advance(record)
            if item is not None:
                total += size
                items.append(item)
                self._mean_bytes += (size - self._mean_bytes) * (0.1 if self._mean_bytes else 1.0)
        return True

    def _item(self, reader: JournalReader, record: Record, lost: list[Item]) -> Item | None:
        """Return the event in a record. What cannot be read, but counts as received, is lost."""
        file, start = reader.name, record.start
        if record.kind == EVENT:
            item = self.decode(file, record)
            if item is not None:
                return item
            lost.append(stub((file, start), self._id_at((file, start)), record.stored_at))
        else:
            had = {
                key: i
                for i, key in self.owners.items()
                if key[0] == file and start <= key[1] < record.end
            }
            reader.records += len(had)  # the other leaves have read them while they were whole
            lost.extend(stub(key, event_id, record.stored_at) for key, event_id in had.items())
            if had:
                self.set_aside(
                    file,
                    start,
                    record.payload,
                    _DAMAGED,
                    Counts(reasons={f"failed: {_DAMAGED}": len(had)}),
                )
            elif start != reader.damaged_to:  # else it is more of a piece that was counted
                own = Counts(received=1, failed=1, reasons={f"failed: {_DAMAGED}": 1})
                self.set_aside(file, start, record.payload, _DAMAGED, own)
        return None

    def decode(self, file: str, record: Record) -> Item | None:
        """Return the event in a whole record; one that cannot be read is set aside."""
        try:
            return Item(
                (file, record.start),
                codec.decode(record.payload),
                len(record.payload),
                record.stored_at,
            )
        except codec.FormatError as error:
            own = Counts(reasons={f"failed: {error}": 1})
            self.set_aside(file, record.start, record.payload, str(error), own)
            return None

    def _id_at(self, key: Key) -> str:
        return next(
            (event_id for event_id, owner in self.owners.items() if owner == key), unknown_id(key)
        )

    def _end_of_file(self, reader: JournalReader) -> None:
        """Pass over what a dead writer left unfinished."""
        if not reader.unread or not is_abandoned(reader.path):
            return
        if next(reader.read(), None) is not None:  # it was finished in the meantime
            return
        left, rest = reader.unread, reader.rest()
        self.set_aside(reader.name, reader.offset, rest, "torn", Counts(reasons={"torn": 1}))
        reader.skip(left)

    def set_aside(self, file: str, offset: int, data: bytes, why: str, own: Counts) -> None:
        """Keep a damaged piece for a person to look at, and add to the books of the
        buffer, once.
        """
        if self.state.rows("SELECT 1 FROM seen WHERE file = ? AND offset = ?", file, offset):
            return
        self.keep_aside(f"{file}-{offset}", data)
        with self.state.transaction():
            if self.state.note_place(file, offset, why, time.time()):
                self.state.add_counts(self.routes.path, own)
        self.tell(f"set aside: {why}", 1)

    def keep_aside(self, name: str, data: bytes) -> None:
        """Write a file for a person to look at."""
        with contextlib.suppress(OSError):
            write_aside(self.folder, name, data)

    def claim(self, item: Item) -> bool:
        """Say whether no other event with the item's id is unfinished."""
        return bool(self.owners.setdefault(item.event.id, item.key) == item.key)

    def _lose(self, leaf: str, items: Sequence[Item], reason: str, own: Counts) -> None:
        """Fail events that have not been given to a leaf yet, while its lane may be on the way with
        others.
        """
        for item in items:
            self.claim(item)
        finished = self.downstream.settle(
            leaf, [item.event.id for item in items], Outcome.FAILED, reason
        )
        counts = Counts(received=len(items), failed=len(items))
        self._collect()
        self.take_off({leaf: {"received": counts.received, "failed": counts.failed}})
        known = {item.key: (item.event.id, {leaf: Outcome.FAILED}) for item in items}
        report = Report(leaf, done=list(items), finished=finished)
        self._unwritten.append(self._entry(report, known, counts, own))
        self._try_to_write(len(items))

    # Writing down

    def report(self, report: Report) -> None:
        """Write down what became of a batch.

        If the medium refuses, it is tried again with the next one.
        """
        with self.lock:
            if self.closed:
                return
            self._collect()
            counts = self._taken.pop(
                report.leaf, Counts()
            )  # all of it: the lane has nothing else on its way just now
            self._unwritten.append(self._entry(report, self.writer.outcomes_of(report), counts))
            self._try_to_write(len(report.done))

    def _try_to_write(self, count: int) -> None:
        try:
            self.write()
        except (OSError, sqlite3.Error) as error:
            self.tell(f"delivered, but the disk refused to note it ({type(error).__name__})", count)

    def write(self) -> None:
        """Write down what has not been yet, with the counts that belong to it.

        Raises:
            sqlite3.Error: If the medium refuses.
        """
        with self.lock:
            if (
                self._writing
            ):  # a signal handler has interrupted this very thread; the next report brings it
                return
            self._writing = True
            try:
                self._collect()
                self._write_all()
            finally:
                self._writing = False

    def _collect(self) -> None:
        for path, counts in self.downstream.take_counts().items():
            self._taken[path] = self._taken.get(path, Counts()) + counts

    def take_off(self, changes: Changes) -> None:
        """Take from what was counted below what the state has got already."""
        for path, change in changes.items():
            self._taken[path] = minus(self._taken.get(path, Counts()), change)

    def mirror(self, act: Callable[[], object], changes: Changes) -> None:
        """Have the routes below count what the state has got already."""
        act()
        self._collect()
        self.take_off(changes)

    def _write_all(self) -> None:
        ready = self._ready()
        if not ready:
            return
        try:
            self._commit(ready)
        except _UNFIT as error:
            self.state.rows("SELECT 1")
            for entry in [entry for entry in ready if not self._fits(entry)]:
                self._strip(entry, error)
            self._commit(ready)
        for entry in ready:
            self._settle_desk(entry)
        self._unwritten = [entry for entry in self._unwritten if entry not in ready]

    def _commit(self, ready: Sequence[Entry]) -> None:
        stored = {leaf: desk.stored for leaf, desk in self.desks.items()}
        taken = dict(self._taken)
        with self.state.transaction():
            changes = self.writer.write(ready, stored)
            for group in self.routes.groups:
                left = minus(taken.get(group, Counts()), changes.get(group, {}))
                taken[group] = self._write_rest(group, left)
        self._taken = taken

    def _write_rest(self, group: str, left: Counts) -> Counts:
        """Write the reasons of a group, and, where nothing is on its way, which outcome it was if
        it had to be guessed.
        """
        settled = left.pending == 0 and left.received <= 0
        rest = left if settled else Counts(reasons=left.reasons)
        self.state.add_counts(group, rest)
        return Counts() if settled else attrs.evolve(left, reasons={})

    def _fits(self, entry: Entry) -> bool:
        """Whether SQLite can store what an entry holds."""
        with self.state.transaction() as connection:
            connection.execute("SAVEPOINT trial")
            try:
                self.writer.write_rows(entry, ())
            except _UNFIT:
                return False
            finally:
                connection.execute("ROLLBACK TO trial")
                connection.execute("RELEASE trial")
        return True

    def _strip(self, entry: Entry, error: Exception) -> None:
        """Keep one bad entry from blocking the rest. What cannot be stored is set aside."""
        for item in entry.report.dead:
            if item.dead is None:
                self.keep_aside(f"letter-{item.key[0]}-{item.key[1]}", codec.encode(item.event))
        self.tell(
            f"could not be noted as they were ({type(error).__name__})",
            len(entry.ended) + len(entry.again),
        )
        entry.strip()

    def _entry(
        self,
        report: Report,
        known: dict[Key, tuple[str, dict[str, Outcome]]],
        counts: Counts,
        own: Counts = Counts(),  # noqa: B008 - it is frozen
    ) -> Entry:
        """Put a report down with the place of its lane."""
        desk = self.desks[report.leaf]
        earlier = [entry for entry in self._unwritten if entry.report.leaf == report.leaf]
        places = {name: (reader.offset, reader.records) for name, reader in desk.readers.items()}
        entry = Entry(report, [], places, known, counts, own)
        told = set(entry.ended)
        for other in (*earlier, entry):
            told.update(other.ended, (item.key for item in (*other.again, *other.untried)))
        entry.untried = [item for key, item in desk.unstored.items() if key not in told]
        return entry

    def _ready(self) -> list[Entry]:
        """The reports that can be written: not those that finish events of which a sibling's report
        is still to come.
        """
        if not self._several:
            return list(self._unwritten)
        ready, held = list(self._unwritten), set[str]()
        while True:
            late = [
                entry
                for entry in ready
                if entry.report.leaf in held or self._is_early(entry, ready)
            ]
            if not late:
                return ready
            held |= {entry.report.leaf for entry in late}
            ready = [entry for entry in ready if entry not in late]

    def _is_early(self, entry: Entry, ready: list[Entry]) -> bool:
        leaf = entry.report.leaf
        for other, desk in self.desks.items():
            if other != leaf:
                ended = {key for one in ready if one.report.leaf == other for key in one.ended}
                if any(key not in ended and desk.is_pending(key) for key in entry.finished):
                    return True
        return False

    def _settle_desk(self, entry: Entry) -> None:
        desk, report = self.desks[entry.report.leaf], entry.report
        desk.stored -= entry.ended
        desk.replaying -= entry.ended
        waiting = {item.key for item in (*entry.again, *entry.untried)}
        desk.stored |= waiting
        for key in (*entry.ended, *waiting):
            desk.unstored.pop(key, None)
        for item in (*report.done, *report.dead):
            if item.key in entry.finished:
                self.release(item.event.id, item.key)

    def release(self, event_id: str, key: Key) -> None:
        """Let the next event with an id have its turn."""
        if self.owners.get(event_id) == key:
            del self.owners[event_id]

    # Housekeeping, on the keeper's thread

    def refresh(self) -> None:
        """Look for new files of the journal."""
        names = journal_files(self.folder)
        for desk in self.desks.values():
            known = desk.readers
            if names != list(known):
                retired = (
                    {name for (name,) in self.state.rows("SELECT file FROM retired")}
                    if names
                    else set()
                )
                fresh = {
                    n: known.get(n) or JournalReader(self.folder / n)
                    for n in names
                    if n not in retired
                }
                for name, reader in known.items():
                    fresh.setdefault(name, reader) if reader.unread else None
                desk.readers = dict(sorted(fresh.items()))

    def retire(self, own_file: str) -> None:
        """Delete the files that every leaf is done with."""
        for name in list(next(iter(self.desks.values())).readers):
            # Looked at again once it is abandoned: its writer may have appended something just
            # before it died.
            if (
                name != own_file
                and self._is_done(name)
                and is_abandoned(self.folder / name)
                and self._is_done(name)
            ):
                self._retire(name)

    def _is_done(self, name: str) -> bool:
        readers = [desk.readers.get(name) for desk in self.desks.values()]
        if any(reader is None or reader.unread for reader in readers):
            return False
        return not any(
            key[0] == name for desk in self.desks.values() for key in (*desk.stored, *desk.unstored)
        )

    def _retire(self, name: str) -> None:
        with self.lock:
            readers = [desk.readers[name] for desk in self.desks.values()]
            with self.state.transaction():
                held = self.state.connection.execute(
                    "SELECT 1 FROM retries WHERE file = ? LIMIT 1", (name,)
                ).fetchone()
                noted = self.state.connection.execute(
                    "SELECT records FROM cursors WHERE file = ?", (name,)
                ).fetchall()
                behind = len(noted) < len(readers) or min(noted)[0] < readers[0].records
                if held or (behind and readers[0].records):
                    return
                self.state.retire(name, self.routes.path, readers[0].records)
            for desk in self.desks.values():
                del desk.readers[name]
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.folder / name)  # noqa: PTH108 - the name is all there is

    # Taking over

    def take_over(self, lanes: dict[str, Lane]) -> None:
        """Go on where the last deliverer stopped.

        Raises:
            OSError, sqlite3.Error: If the medium refuses. Nothing has happened then; another store
            may try again.
        """
        with self.lock:
            self._lanes = lanes
            self._delete_retired()
            with self.state.transaction():
                heir = Succession(self)
                heir.change_leaves()
                self.refresh()
                self._set_places()
                heir.load()
                heir.finish()
            heir.adopt()
        for leaf, lane in lanes.items():
            lane.again(heir.items[leaf])

    def _delete_retired(self) -> None:
        """Finish what a deliverer may have died in."""
        for (name,) in self.state.rows("SELECT file FROM retired"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.folder / name)  # noqa: PTH108 - as above
        with self.state.transaction() as connection:
            connection.execute("DELETE FROM seen WHERE file IN (SELECT file FROM retired)")
            connection.execute("DELETE FROM retired")

    def _set_places(self) -> None:
        for (leaf, file), place in self.state.snapshot().cursors.items():
            reader = self.desks[leaf].readers.get(file) if leaf in self.desks else None
            if reader is not None:
                reader.offset, reader.records = place

    # Requests

    def requests(self, lanes: dict[str, Lane]) -> None:
        """Do what somebody has asked for: replay dead letters, or purge them."""
        with self.lock:
            for leaf, items in self._requests.serve().items():
                lanes[leaf].again(items)
                lanes[leaf].hurry = True

    def note_lanes(self, lanes: Iterable[Lane]) -> None:
        """Write down how the lanes are, for people who look in from elsewhere."""
        now, clock = time.time(), monotonic()
        rows = [
            (
                lane.leaf,
                lane.failures,
                to_words(lane.last_error),
                now + max(lane.resume_at - clock, 0.0),
                now,
            )
            for lane in lanes
        ]
        if [row[:3] for row in rows] != self._noted_lanes:
            with self.state.transaction() as connection:
                connection.execute("DELETE FROM lanes")
                connection.executemany("INSERT INTO lanes VALUES (?, ?, ?, ?, ?)", rows)
            self._noted_lanes = [row[:3] for row in rows]

    def with_taken(self, balance: Balance) -> Balance:
        """Add what was counted below and has not been written yet.

        For the thread that holds the lock.
        """
        counts = dict(balance.counts)
        news = [
            *self._taken.items(),
            *((entry.report.leaf, entry.counts) for entry in self._unwritten),
        ]
        for path, taken in news:
            counts[path] = counts.get(path, Counts()) + taken
        return attrs.evolve(balance, counts=counts)

    def give_up_oldest(self, leaf: str, count: int, reason: str) -> int:
        """Fail the oldest events that a leaf has not had. Return how many there were."""
        given = 0
        with self.lock:
            while given < count:
                taken = self._take(leaf, count - given, 1 << 62)
                mine: list[Item] = []
                others: list[Item] = []  # they wait for another of their id
                for item in taken:
                    (mine if self.claim(item) else others).append(item)
                self._lanes[leaf].again(others)
                if mine:
                    self._lose(leaf, mine, reason, Counts(reasons={f"failed: {reason}": len(mine)}))
                if not taken:
                    break
                given += len(mine)
        return given

    def close(self) -> None:
        """Note nothing any more: another process may deliver from now on."""
        with self.lock:
            self.closed = True
