"""How a process takes over a buffer on disk from the one that delivered before.

The former one may have had another config. Events that wait for a route that the config does not
name stay pending; each gets a row, so that new events do not wait for that route.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Final

from eventtracking import Counts, Outcome
from eventtracking.counts import reason_text
from eventtracking.standing import Routes, Standing
from eventtracking_buffer.delivery.queue import QueuedEvent
from eventtracking_buffer.delivery.standings import Transition, never
from eventtracking_buffer.disk.journal.files import journal_files
from eventtracking_buffer.disk.journal.reader import JournalReader, decode
from eventtracking_buffer.disk.journal.records import EVENT
from eventtracking_buffer.disk.journal.writer import delete_unfinished
from eventtracking_buffer.disk.requests import Requests
from eventtracking_buffer.disk.state.connection import to_id
from eventtracking_buffer.disk.state.transitions import Key, unpack
from eventtracking_buffer.disk.store import DAMAGED, DiskStore

__all__ = ["take_over"]

_FAILED, _PENDING = Outcome.FAILED, Outcome.PENDING
_SELECT: Final = (
    "SELECT file, offset, attempts, had, first_at, last_at, reason FROM retries WHERE leaf = ?"
    " ORDER BY 1, 2"
)


def take_over(store: DiskStore, since: float) -> dict[str, list[QueuedEvent]]:
    """Go on where the last deliverer stopped; return what each lane is to try again.

    Args:
        since: When this process began, in seconds since 1970. Events stored before are the affair
            of the routes that were there then.

    Raises:
        OSError, sqlite3.Error: If the medium refuses. Nothing has happened then.
    """
    with store.lock:
        _delete_retired(store)
        with store.state.transaction():
            takeover = _Takeover(store, since)
            takeover.change_routes()
            store.refresh()
            takeover.set_places()
            return takeover.load()


def _delete_retired(store: DiskStore) -> None:
    """Finish what a deliverer may have died in."""
    delete_unfinished(store.folder)
    for (name,) in store.state.rows("SELECT file FROM retired"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(store.folder / name)  # noqa: PTH108 - the name is all there is
    with store.state.transaction() as connection:
        connection.execute("DELETE FROM seen WHERE file IN (SELECT file FROM retired)")
        connection.execute("DELETE FROM retired")


class _Takeover:
    """One take-over, inside one transaction."""

    def __init__(self, store: DiskStore, since: float) -> None:
        self._store = store
        self._state = store.state
        self._execute = store.state.connection.execute
        self._since = since
        self._standings: dict[Key, Standing] = {}
        self._ids: dict[Key, str] = {}
        self._moves: dict[Key, tuple[str, Transition]] = {}
        self._places: dict[str, dict[str, tuple[int, int]]] = {}
        self._read_progress()

    def _read_progress(self) -> None:
        for file, offset, event_id, known in self._state.rows("SELECT * FROM progress"):
            self._standings[file, offset] = unpack(known)
            self._ids[file, offset] = to_id(event_id)
        for (lane, file), place in self._state.snapshot().cursors.items():
            self._places.setdefault(lane, {})[file] = place

    # The routes

    def change_routes(self) -> None:
        """Take note of routes that came or went since the last deliverer."""
        store = self._store
        rows = self._state.rows("SELECT leaf, coalesce(lane, leaf), gone FROM leaves")
        former: dict[str, list[str]] = {}
        gone: dict[str, list[str]] = {}
        for leaf, lane, was_gone in rows:
            (gone if was_gone else former).setdefault(lane, []).append(leaf)
        current = {leaf for state in store.lanes.values() for leaf in state.leaves}
        leaving = {lane: found for lane, found in former.items() if lane not in store.lanes}
        dead = self._state.rows("SELECT DISTINCT leaf FROM dead")
        lost = sorted({row[0] for row in (*rows, *dead)} - current)
        if lost:
            routes = store.routes
            leaves = [*routes.leaves, *lost]
            store.writer.counted = Routes(routes.path, leaves, routes.independent)
        survivors = [lane for lane in former if lane in store.lanes and lane in self._places]
        fresh = [lane for lane in store.lanes if former and lane not in former]
        for lane in fresh:
            self._introduce(lane, survivors)
        for lane, leaves in leaving.items():
            self._keep_waiting(lane, leaves)
        for lane in fresh:
            self._pass_by(lane)
        self._write_routes({**gone, **leaving})

    def _introduce(self, lane: str, survivors: list[str]) -> None:
        """Give a new lane what another one has not had; without another, what is stored now."""
        files = {file for places in self._places.values() for file in places}
        if not survivors:
            starts = {file: self._first_since(file) for file in self._files()}
        else:
            starts = {
                file: min(self._places[s].get(file, (0, 0)) for s in survivors) for file in files
            }
            marks = ",".join("?" * len(survivors))
            query = f"SELECT DISTINCT file, offset FROM retries WHERE leaf IN ({marks})"  # noqa: S608 - marks
            rows = [
                (lane, file, at)
                for file, at in self._state.rows(query, *survivors)
                if at < starts.get(file, (0, 0))[0]
            ]
            self._state.connection.executemany(
                "INSERT OR IGNORE INTO retries VALUES (?, ?, ?, 0, 0, 0.0, 0.0, '')", rows
            )
        self._places[lane] = starts
        self._state.move_cursors(lane, starts)

    def _pass_by(self, lane: str) -> None:
        """Note that a new lane never has the unfinished events before its place."""
        query = "SELECT file, offset FROM retries WHERE leaf = ?"
        rows = set(self._state.rows(query, lane))
        for key, standing in list(self._standings.items()):
            if key in rows or key[1] >= self._places[lane].get(key[0], (0, 0))[0]:
                continue
            for leaf in self._store.lanes[lane].leaves:
                if leaf not in standing:
                    self._put(key, never(leaf))

    def _files(self) -> list[str]:
        return journal_files(self._store.folder)

    def _first_since(self, file: str) -> tuple[int, int]:
        """Return the place of the first event that was stored since this process began."""
        reader = JournalReader(self._store.folder / file)
        with contextlib.suppress(OSError):
            for record in reader.read():
                if record.kind == EVENT and record.stored_at >= self._since:
                    break
                reader.advance(record)
        return reader.offset, reader.records

    def _keep_waiting(self, lane: str, leaves: list[str]) -> None:
        """Give each event that a lost lane has not read a row, and have it stay pending there."""
        for file in self._files():
            reader = JournalReader(
                self._store.folder / file, *self._places.get(lane, {}).get(file, (0, 0))
            )
            with contextlib.suppress(OSError):
                for record in reader.read():
                    if record.kind == EVENT and record.stored_at >= self._since:
                        break
                    reader.advance(record)
                    if record.kind == EVENT:
                        self._wait((file, record.start), lane, leaves)
        query = "SELECT file, offset FROM retries WHERE leaf = ?"
        for file, offset in self._state.rows(query, lane):
            self._wait((file, offset), lane, leaves)
        self._execute("DELETE FROM cursors WHERE leaf = ?", (lane,))

    def _wait(self, key: Key, lane: str, leaves: list[str]) -> None:
        self._execute(
            "INSERT OR IGNORE INTO retries VALUES (?, ?, ?, 0, 0, 0.0, 0.0, '')", (lane, *key)
        )
        known = self._standings.get(key, {})
        self._put(key, {leaf: _PENDING for leaf in leaves if leaf not in known})

    def _put(self, key: Key, news: Standing) -> None:
        if not news:
            return
        if key not in self._ids:
            self._ids[key] = self._id_at(key)
        first = self._moves[key][1].before if key in self._moves else self._standings.get(key)
        found = Transition.of(self._store.routes, self._standings.get(key), news)
        self._standings[key] = found.after
        self._moves[key] = self._ids[key], Transition(first, found.after, found.ended)

    def _id_at(self, key: Key) -> str:
        record = JournalReader(self._store.folder / key[0]).record_at(key[1])
        item = decode(key[0], record) if record is not None and record.kind == EVENT else None
        return item.event.id if isinstance(item, QueuedEvent) else f"unreadable:{key[0]}:{key[1]}"

    def _write_routes(self, gone: dict[str, list[str]]) -> None:
        self._execute("DELETE FROM leaves")
        rows = [
            (leaf, lane, 0) for lane, state in self._store.lanes.items() for leaf in state.leaves
        ]
        waiting = {lane for (lane,) in self._state.rows("SELECT DISTINCT leaf FROM retries")}
        known = {leaf for leaf, _, _ in rows}
        rows += [
            (leaf, lane, 1)
            for lane, leaves in gone.items()
            for leaf in leaves
            if lane in waiting and leaf not in known
        ]
        self._state.connection.executemany("INSERT INTO leaves VALUES (?, ?, ?)", rows)

    # What waits

    def set_places(self) -> None:
        """Put the readers of each lane where it stopped."""
        for lane, state in self._store.lanes.items():
            for file, place in self._places.get(lane, {}).items():
                if file in state.readers:
                    state.readers[file].offset, state.readers[file].records = place

    def load(self) -> dict[str, list[QueuedEvent]]:
        """Read what is unfinished, by lane."""
        items = {lane: list(self._retries(lane)) for lane in self._store.lanes}
        self._store.writer.has_dead = bool(self._state.rows("SELECT 1 FROM dead LIMIT 1"))
        self._store.writer.move(self._moves)
        for lane, replayed in Requests(self._store).resume().items():
            items[lane].extend(replayed)
        return items

    def _retries(self, lane: str) -> Iterator[QueuedEvent]:
        state = self._store.lanes[lane]
        for file, offset, attempts, had, first_at, last_at, reason in self._state.rows(
            _SELECT, lane
        ):
            key = file, offset
            item = self._reload(lane, key)
            leaves = self._leaves(lane, key)
            if item is None or not leaves:
                if item is None:
                    self._lose(lane, key, leaves)
                self._execute(
                    "DELETE FROM retries WHERE leaf = ? AND file = ? AND offset = ?", (lane, *key)
                )
                continue
            item.attempts, item.attempted, item.reason = attempts, bool(had), reason
            item.first_at, item.last_at = first_at, last_at
            item.leaves = leaves if had else None
            state.stored.add(key)
            yield item

    def _leaves(self, lane: str, key: Key) -> tuple[str, ...]:
        standing = self._standings.get(key, {})
        routes = self._store.routes
        leaves = self._store.lanes[lane].leaves
        return tuple(leaf for leaf in leaves if routes.waits_at(leaf, standing))

    def _reload(self, lane: str, key: Key) -> QueuedEvent | None:
        reader = self._store.lanes[lane].readers.get(key[0])
        record = reader.record_at(key[1]) if reader is not None else None
        if record is None or record.kind != EVENT:
            return None
        item = decode(key[0], record)
        return item if isinstance(item, QueuedEvent) else None

    def _lose(self, lane: str, key: Key, leaves: tuple[str, ...]) -> None:
        """Fail an event that was damaged since it was read for the first time."""
        reader = self._store.lanes[lane].readers.get(key[0])
        data = b"" if reader is None else reader.raw_at(key[1])
        text = reason_text(_FAILED, DAMAGED)
        self._store.set_aside(*key, data, DAMAGED, Counts(reasons={text: 1}))
        self._state.add_reasons({leaf: {text: 1} for leaf in leaves})
        self._put(key, dict.fromkeys(leaves, _FAILED))
