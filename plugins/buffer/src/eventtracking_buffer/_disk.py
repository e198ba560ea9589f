"""The buffer on disk, as the delivering process sees it: reads the journal for each leaf, and keeps the state."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

import attrs
import msgspec

from eventtracking import Counts, Outcome
from eventtracking.protocols import Downstream
from eventtracking_buffer import codec
from eventtracking_buffer._books import Balance
from eventtracking_buffer._item import Item
from eventtracking_buffer._journal import JournalReader, is_abandoned, journal_files
from eventtracking_buffer._lane import Lane, Report
from eventtracking_buffer._records import EVENT, Record
from eventtracking_buffer._reports import Entry, Key, ReportWriter
from eventtracking_buffer._state import State

__all__ = ["DiskStore"]

_MAX_REQUESTS: Final = 500
_DEAD_COLUMNS: Final = "number, event_id, leaf, reason, attempts, first_at, last_at, payload, stored_at, own"


@attrs.define(eq=False)
class _Desk:
    """What the store knows of one leaf's lane."""

    readers: dict[str, JournalReader] = attrs.field(factory=dict)
    unstored: dict[Key, Item] = attrs.field(factory=dict)
    """Taken from the journal, not final at the leaf, and without a row of its own."""
    stored: set[Key] = attrs.field(factory=set)
    """Not final at the leaf, with a row of its own."""


class DiskStore:
    """Serves the lanes of the one process that delivers. Its lock is never held while user code runs.

    Args:
        tell: Has the log told that something happened to so many events.
    """

    def __init__(self, folder: Path, downstream: Downstream, state: State, tell: Callable[[str, int], None]) -> None:
        self.folder = folder
        self.state = state
        self._downstream = downstream
        self._path = downstream.path
        self._tell = tell
        self.lock = threading.RLock()
        self._desks = {leaf: _Desk() for leaf in downstream.leaves}
        self._several = len(downstream.leaves) > 1
        self._owners: dict[str, Any] = {}
        self._unwritten: list[Entry] = []
        self._taken: dict[str, Counts] = {}
        self._writer = ReportWriter(state, downstream)
        self._writing = False
        self._mean_bytes = 0.0
        self._noted_lanes: list[Any] = []
        self.closed = False

    # For the lanes

    def waiting(self, leaf: str) -> int:
        """Return about how many events wait for their first delivery to a leaf."""
        readers = list(self._desks[leaf].readers.values())
        unread = sum(reader.unread for reader in readers)
        if not unread:
            return 0
        if not self._mean_bytes:
            sizes = [record.end - record.start for reader in readers if (record := reader.peek()) is not None]
            self._mean_bytes = float(max(sizes, default=0))
        return max(1, round(unread / self._mean_bytes)) if self._mean_bytes else 1

    def take(self, leaf: str, max_events: int, max_bytes: int) -> list[Item]:
        """Take the next events for a leaf from the journal."""
        with self.lock:  # somebody may give up the oldest events meanwhile
            return self._take(leaf, max_events, max_bytes)

    def _take(self, leaf: str, max_events: int, max_bytes: int) -> list[Item]:
        items: list[Item] = []
        for reader in list(self._desks[leaf].readers.values()):
            if not reader.unread:
                continue
            if not self._read(reader, items, max_events, max_bytes):
                break
            self._end_of_file(reader)
        self._desks[leaf].unstored.update((item.key, item) for item in items)
        return items

    def _read(self, reader: JournalReader, items: list[Item], max_events: int, max_bytes: int) -> bool:
        """Read until there is enough; return whether more is wanted."""
        total = sum(item.size for item in items)
        for record in reader.read():
            size = record.end - record.start
            if len(items) >= max_events or (items and total + size > max_bytes):
                return False
            reader.advance(record)
            item = self._item(reader.name, record)
            if item is not None:
                total += size
                items.append(item)
                self._mean_bytes += (size - self._mean_bytes) * (0.1 if self._mean_bytes else 1.0)
        return True

    def _item(self, file: str, record: Record) -> Item | None:
        if record.kind == EVENT:
            try:
                return Item((file, record.start), codec.decode(record.payload), len(record.payload), record.stored_at)
            except codec.FormatError as error:
                self._set_aside(file, record.start, record.payload, str(error), received=0)
        else:
            self._set_aside(file, record.start, record.payload, "damaged on disk", received=1)
        return None

    def _end_of_file(self, reader: JournalReader) -> None:
        """Pass over what a dead writer left unfinished."""
        if not reader.unread or not is_abandoned(reader.path):
            return
        if next(reader.read(), None) is not None:  # it was finished in the meantime
            return
        rest = reader.rest()
        self._set_aside(reader.name, reader.offset, rest, "torn", received=0, failed=0)
        reader.skip(len(rest))

    def _set_aside(self, file: str, offset: int, data: bytes, why: str, received: int, failed: int = 1) -> None:
        """Keep a damaged piece for a person to look at, and count it once."""
        if self.state.rows("SELECT 1 FROM seen WHERE file = ? AND offset = ?", file, offset):
            return
        with contextlib.suppress(OSError):
            aside = self.folder / "damaged"
            aside.mkdir(exist_ok=True)
            (aside / f"{file}-{offset}").write_bytes(data)
        with self.state.transaction():
            if self.state.note_place(file, offset, why, time.time()):
                reasons = {f"{'failed: ' if failed else ''}{why}": 1}
                self.state.add_counts(self._path, Counts(received=received, failed=failed, reasons=reasons))
        self._tell(f"set aside: {why}", 1)

    def claim(self, item: Item) -> bool:
        """Say whether no other event with the item's id is unfinished."""
        return bool(self._owners.setdefault(item.event.id, item.key) == item.key)

    # Writing down

    def report(self, report: Report) -> None:
        """Write down what became of a batch. If the medium refuses, it is tried again with the next one."""
        with self.lock:
            if self.closed:
                return
            self._unwritten.append(self._entry(report))
            try:
                self.write()
            except (OSError, sqlite3.Error) as error:
                self._tell(f"delivered, but the disk refused to note it ({type(error).__name__})", len(report.done))

    def write(self) -> None:
        """Write down what has not been yet, counts included.

        Raises:
            sqlite3.Error: If the medium refuses.
        """
        with self.lock:
            if self._writing:  # a signal handler has interrupted this very thread; the next report brings it
                return
            self._writing = True
            try:
                self._write_all()
            finally:
                self._writing = False

    def _write_all(self) -> None:
        for path, counts in self._downstream.take_counts().items():
            self._taken[path] = self._taken.get(path, Counts()) + counts
        ready = self._ready()
        if not ready and not any(_is_news(counts) for counts in self._taken.values()):
            return
        with self.state.transaction():
            finished = {event_id for entry in ready for event_id in entry.report.finished}
            fresh: dict[str, set[Key]] = {}
            for entry in ready:
                leaf = entry.report.leaf
                rows = fresh.setdefault(leaf, set())  # those that an earlier report of this transaction has made
                self._writer.write(
                    entry, finished, self._desks[leaf].stored | rows if rows else self._desks[leaf].stored
                )
                rows.update(item.key for item in entry.again)
            for path, counts in self._taken.items():
                self.state.add_counts(path, counts)
        for entry in ready:
            self._settle_desk(entry)
        self._unwritten = [entry for entry in self._unwritten if entry not in ready]
        self._taken = {}

    def _entry(self, report: Report) -> Entry:
        """Put a report down with the place of its lane, which has nothing else on its way just now."""
        desk = self._desks[report.leaf]
        fresh = [item for item in (*report.done, *report.dead) if item.dead is None]
        ended = {item.key for item in fresh}
        over = ended.union(*(entry.ended for entry in self._unwritten if entry.report.leaf == report.leaf))
        again = [*report.again, *(item for key, item in desk.unstored.items() if key not in over)]
        places = {name: (reader.offset, reader.records) for name, reader in desk.readers.items()}
        return Entry(report, ended, [item for item in again if item.dead is None], places)

    def _ready(self) -> list[Entry]:
        """The reports that can be written: not those that finish events of which a sibling's report is still to come."""
        if not self._several:
            return list(self._unwritten)
        ready, held = list(self._unwritten), set[str]()
        while True:
            late = [entry for entry in ready if entry.report.leaf in held or self._is_early(entry, ready)]
            if not late:
                return ready
            held |= {entry.report.leaf for entry in late}
            ready = [entry for entry in ready if entry not in late]

    def _is_early(self, entry: Entry, ready: list[Entry]) -> bool:
        report = entry.report
        finished = [key for key, event_id in entry.finished_keys() if event_id in report.finished]
        for leaf, desk in self._desks.items():
            if leaf != report.leaf:
                ended = {key for other in ready if other.report.leaf == leaf for key in other.ended}
                if any(key not in ended and (key in desk.unstored or key in desk.stored) for key in finished):
                    return True
        return False

    def _settle_desk(self, entry: Entry) -> None:
        desk, report = self._desks[entry.report.leaf], entry.report
        desk.stored -= entry.ended
        desk.stored.update(item.key for item in entry.again)
        for key in (*entry.ended, *(item.key for item in entry.again)):
            desk.unstored.pop(key, None)
        for item in (*report.done, *report.dead):
            if item.event.id in report.finished and self._owners.get(item.event.id) == item.key:
                del self._owners[item.event.id]

    # Housekeeping, on the keeper's thread

    def refresh(self) -> None:
        """Look for new files of the journal."""
        names = journal_files(self.folder)
        for desk in self._desks.values():
            known = desk.readers
            if names != list(known):
                retired = {name for (name,) in self.state.rows("SELECT file FROM retired")} if names else set()
                fresh = {n: known.get(n) or JournalReader(self.folder / n) for n in names if n not in retired}
                for name, reader in known.items():
                    fresh.setdefault(name, reader) if reader.unread else None
                desk.readers = dict(sorted(fresh.items()))

    def retire(self, own_file: str) -> None:
        """Delete the files that every leaf is done with."""
        for name in list(next(iter(self._desks.values())).readers):
            # Looked at again once it is abandoned: its writer may have appended something just before it died.
            if name != own_file and self._is_done(name) and is_abandoned(self.folder / name) and self._is_done(name):
                self._retire(name)

    def _is_done(self, name: str) -> bool:
        readers = [desk.readers.get(name) for desk in self._desks.values()]
        if any(reader is None or reader.unread for reader in readers):
            return False
        return not any(key[0] == name for desk in self._desks.values() for key in (*desk.stored, *desk.unstored))

    def _retire(self, name: str) -> None:
        with self.lock:
            readers = [desk.readers[name] for desk in self._desks.values()]
            with self.state.transaction():
                held = self.state.connection.execute("SELECT 1 FROM retries WHERE file = ? LIMIT 1", (name,)).fetchone()
                noted = self.state.connection.execute("SELECT records FROM cursors WHERE file = ?", (name,)).fetchall()
                behind = len(noted) < len(readers) or min(noted)[0] < readers[0].records
                if held or (behind and readers[0].records):
                    return
                self.state.retire(name, self._path, readers[0].records)
            for desk in self._desks.values():
                desk.readers.pop(name).close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.folder / name)  # noqa: PTH108 - the name is all there is

    # Taking over

    def take_over(self, lanes: dict[str, Lane]) -> None:
        """Go on where the last deliverer stopped."""
        with self.lock:
            self._delete_retired()
            self.refresh()
            snapshot = self.state.snapshot()
            for (leaf, file), (offset, records) in snapshot.cursors.items():
                reader = self._desks[leaf].readers.get(file) if leaf in self._desks else None
                if reader is not None:
                    reader.offset, reader.records = offset, records
            known = self._load_progress()
            retries = {leaf: self._load_retries(leaf, known) for leaf in self._desks}
            replays = self._load_replays("replaying", known)
            self._adopt(known)
            self._mend_pending(snapshot.counts, known)
            self._writer.has_dead = bool(self.state.rows("SELECT 1 FROM dead LIMIT 1"))
        for leaf, lane in lanes.items():
            lane.again([*retries[leaf], *(item for other, item in replays if other == leaf)])

    def _delete_retired(self) -> None:
        """Finish what a deliverer may have died in."""
        for (name,) in self.state.rows("SELECT file FROM retired"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.folder / name)  # noqa: PTH108 - as above
        with self.state.transaction() as connection:
            connection.execute("DELETE FROM seen WHERE file IN (SELECT file FROM retired)")
            connection.execute("DELETE FROM retired")

    def _load_progress(self) -> dict[str, dict[str, Outcome]]:
        rows = self.state.rows("SELECT event_id, known FROM progress")
        return {event_id: {p: Outcome(o) for p, o in msgspec.json.decode(text).items()} for event_id, text in rows}

    def _load_retries(self, leaf: str, known: dict[str, dict[str, Outcome]]) -> list[Item]:
        items = []
        for row in self.state.rows("SELECT * FROM retries WHERE leaf = ? ORDER BY file, offset", leaf):
            _, file, offset, event_id, attempts, had, first_at, last_at, reason = row
            item = self._reload(leaf, file, offset)
            if item is None:
                continue
            item.attempts, item.had, item.first_at, item.last_at = attempts, bool(had), first_at, last_at
            item.reason = reason
            if had:
                known.setdefault(event_id, {})[leaf] = Outcome.PENDING
            self._desks[leaf].stored.add(item.key)
            items.append(item)
        return items

    def _reload(self, leaf: str, file: str, offset: int) -> Item | None:
        """Read an event again; if it has been damaged since it was read for the first time, it has failed."""
        reader = self._desks[leaf].readers.get(file)
        record = reader.record_at(offset) if reader is not None else None
        item = self._item(file, record) if record is not None and record.kind == EVENT else None
        if item is None:
            with self.state.transaction() as connection:
                connection.execute(
                    "DELETE FROM retries WHERE leaf = ? AND file = ? AND offset = ?", (leaf, file, offset)
                )
            self._set_aside(
                file, offset, b"" if reader is None else reader.raw_at(offset), "damaged on disk", received=0
            )
        return item

    def _adopt(self, known: dict[str, dict[str, Outcome]]) -> None:
        """Hand unfinished events to the routes below. Where nothing is noted, and nothing waits, a leaf is done."""
        if not self._several:
            self._downstream.adopt(known, received=False)
            return
        waiting = {leaf: {event for (event,) in self._waiting_rows(leaf)} for leaf in self._desks}
        for event_id, outcomes in known.items():
            places = [leaf for leaf in self._desks if leaf not in outcomes and event_id not in waiting[leaf]]
            for leaf in places:
                if not self._may_still_come(leaf):
                    outcomes[leaf] = Outcome.FILTERED
        self._downstream.adopt(known, received=False)

    def _waiting_rows(self, leaf: str) -> list[tuple[Any, ...]]:
        return self.state.rows("SELECT event_id FROM retries WHERE leaf = ? AND NOT had", leaf)

    def _may_still_come(self, leaf: str) -> bool:
        """Whether a leaf has yet to read something."""
        return any(reader.unread for reader in self._desks[leaf].readers.values())

    def _mend_pending(self, counts: dict[str, Counts], known: dict[str, dict[str, Outcome]]) -> None:
        """Take back what was received by a leaf when a deliverer died, and will be received again."""
        measured: dict[str, int] = {}
        for outcomes in known.values():
            for path in set(self._pending_paths(outcomes)):
                measured[path] = measured.get(path, 0) + 1
        with self.state.transaction():
            for path, found in counts.items():
                phantom = found.pending - measured.get(path, 0)
                if path != self._path and phantom:
                    self.state.add_counts(path, {"received": -phantom, "pending": -phantom})

    def _pending_paths(self, outcomes: dict[str, Outcome]) -> Iterable[str]:
        """The leaves where an event is pending, and the groups that wait for a leaf."""
        waits = [leaf for leaf in self._desks if outcomes.get(leaf, Outcome.PENDING) is Outcome.PENDING]
        for leaf in waits:
            if leaf in outcomes:
                yield leaf
        for leaf in outcomes:
            for group in _groups_of(leaf, self._path):
                if any(other.startswith(f"{group}/") for other in waits) and outcomes.get(group) is None:
                    yield group

    # Requests

    def requests(self, lanes: dict[str, Lane]) -> None:
        """Do what somebody has asked for: replay dead letters, or purge them."""
        for state in ("replay", "purge"):
            if self.state.rows("SELECT 1 FROM dead WHERE state = ? LIMIT 1", state):
                self._serve(state, lanes)

    def _serve(self, state: str, lanes: dict[str, Lane]) -> None:
        with self.lock:
            found = self._load_replays(state, {})
            purged: list[tuple[str, Item]] = []
            for leaf, item in found:
                self._reopen(leaf, item)
                if state == "purge":
                    purged.append((leaf, item))
                else:
                    lanes[leaf].again([item])
                    lanes[leaf].hurry = True
            for leaf, item in purged:
                finished = self._downstream.settle(leaf, [item.event.id], Outcome.FAILED, "purged")
                self._unwritten.append(Entry(Report(leaf, done=[item], finished=finished), set(), [], {}))
            self.write()

    def _load_replays(self, state: str, known: dict[str, dict[str, Outcome]]) -> list[tuple[str, Item]]:
        rows = self.state.rows(f"SELECT {_DEAD_COLUMNS} FROM dead WHERE state = ? LIMIT {_MAX_REQUESTS}", state)  # noqa: S608 - constants
        found = []
        for number, event_id, leaf, reason, attempts, first_at, last_at, payload, stored_at, _own in rows:
            if leaf not in self._desks:
                self.state.rows("UPDATE dead SET state = 'dead' WHERE number = ?", number)
                continue
            item = Item(self._owners.get(event_id, ("dead", event_id)), codec.decode(payload), len(payload), stored_at)
            item.attempts, item.first_at, item.last_at, item.reason = attempts, first_at, last_at, reason
            item.had, item.dead = True, number
            if state == "replaying":
                known.setdefault(event_id, self._known_dead(event_id, leaf))[leaf] = Outcome.PENDING
            found.append((leaf, item))
        return found

    def _known_dead(self, event_id: str, leaf: str) -> dict[str, Outcome]:
        """What became of a finished event: dead at the leaves that have a letter of it, and over at the others."""
        rows = self.state.rows("SELECT leaf FROM dead WHERE event_id = ?", event_id)
        dead = {other: Outcome.DEAD_LETTERED for (other,) in rows if other in self._desks}
        return {**dict.fromkeys(self._desks, Outcome.FILTERED), **dead, leaf: Outcome.DEAD_LETTERED}

    def _reopen(self, leaf: str, item: Item) -> None:
        """Lease a dead letter: from now on its event is pending again."""
        event_id = item.event.id
        with self.state.transaction() as connection:
            own = connection.execute("SELECT own FROM dead WHERE number = ?", (item.dead,)).fetchone()[0]
            connection.execute("UPDATE dead SET state = 'replaying' WHERE number = ?", (item.dead,))
            if own is not None:
                self.state.add_counts(self._path, {Outcome(own).name.lower(): -1})
                connection.execute("UPDATE dead SET own = NULL, reopened = 1 WHERE event_id = ?", (event_id,))
        if own is not None:
            self._downstream.adopt({event_id: self._known_dead(event_id, leaf)}, received=False)
        self._downstream.reopen(leaf, [event_id])

    def note_lanes(self, lanes: Iterable[Lane]) -> None:
        """Write down how the lanes are, for people who look in from elsewhere."""
        now, monotonic = time.time(), time.monotonic()
        rows = [
            (lane.leaf, lane.failures, lane.last_error, now + max(lane.resume_at - monotonic, 0.0), now)
            for lane in lanes
        ]
        if [row[:3] for row in rows] != self._noted_lanes:
            with self.state.transaction() as connection:
                connection.execute("DELETE FROM lanes")
                connection.executemany("INSERT INTO lanes VALUES (?, ?, ?, ?, ?)", rows)
            self._noted_lanes = [row[:3] for row in rows]

    def with_taken(self, balance: Balance) -> Balance:
        """Add what was counted below and has not been written yet. For the thread that holds the lock."""
        counts = dict(balance.counts)
        for path, taken in self._taken.items():
            counts[path] = counts.get(path, Counts()) + taken
        return attrs.evolve(balance, counts=counts)

    def give_up_oldest(self, leaf: str, count: int, reason: str) -> int:
        """Fail the oldest events that a leaf has not had. Return how many there were."""
        items = [item for item in self.take(leaf, count, 1 << 62) if self.claim(item)]
        finished = self._downstream.settle(leaf, [item.event.id for item in items], Outcome.FAILED, reason)
        with self.state.transaction():
            self.state.add_counts(self._path, Counts(reasons={f"failed: {reason}": len(items)}))
        self.report(Report(leaf, done=items, finished=finished))
        return len(items)

    def close(self) -> None:
        """Let go of the files."""
        with self.lock:
            self.closed = True
            for desk in self._desks.values():
                for reader in desk.readers.values():
                    reader.close()


def _is_news(counts: Counts) -> bool:
    return counts != Counts()


def _groups_of(leaf: str, root: str) -> Iterable[str]:
    """The paths between a router and a leaf."""
    inner = leaf.removeprefix(f"{root}/").split("/")[:-1]
    return ("/".join([root, *inner[: count + 1]]) for count in range(len(inner)))
