"""The state of a buffer on disk: who has had what, what failed, the dead letters and the books, in
one SQLite file.

Only the delivering process writes here, but for requests to replay or purge, which any process may
leave. Everything that one delivery changes is one transaction, so that a process that dies leaves
either all of it or nothing.
"""

from __future__ import annotations

import errno
import sqlite3
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import attrs

from eventtracking import Counts
from eventtracking.forks import abandon
from eventtracking_buffer.disk.gates import Gate
from eventtracking_buffer.disk.state.schema import prepare

__all__ = [
    "COUNTED",
    "FileId",
    "InheritedStateError",
    "Snapshot",
    "State",
    "connections",
    "file_id",
    "from_id",
    "to_id",
    "to_words",
]

FileId = tuple[int, int]
"""The device and number of a file, which tell it from another one at the same path."""

COUNTED: Final = ("received", "delivered", "filtered", "failed", "dead_lettered", "pending")
_BUSY_TIMEOUT_S: Final = 5.0
_ADD_COUNT: Final = (
    "INSERT INTO counts VALUES (?, ?, ?) ON CONFLICT (path, name) DO UPDATE SET value = value +"
    " excluded.value"
)
_REOPENED: Final = "SELECT count(*) FROM (SELECT DISTINCT file, offset FROM dead WHERE reopened)"
_LANES: Final = "SELECT coalesce(lane, leaf) FROM leaves WHERE NOT gone"
_ADD_REASON: Final = (
    "INSERT INTO reasons VALUES (?, ?, ?) ON CONFLICT (path, reason) DO UPDATE SET value = value +"
    " excluded.value"
)


class InheritedStateError(OSError):
    """Raised in a forked child for a state whose connection the parent could not close before it
    forked.
    """


def file_id(path: Path) -> FileId | None:
    """Tell which file is at a path; None if none is."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


@attrs.frozen(kw_only=True)
class Snapshot:
    """The counts at one moment, without the events of the journal that no lane has read."""

    counts: dict[str, Counts]
    """By path, as they were added up."""
    cursors: dict[tuple[str, str], tuple[int, int]]
    """By leaf and file: up to which offset it was read, and how many events that were."""
    retried: frozenset[tuple[str, int]]
    """The places of events that were had by a leaf, or passed over, and are not final there."""
    reopened: int
    """How many finished events are pending again, because a dead letter of theirs is replayed."""
    retired: frozenset[str]
    lanes: frozenset[str]
    """Those that the last deliverer's config had, and those that are gone but not retired."""


class State:
    """One connection to the state, shared by the threads of one process.

    `lock` is held for calls of SQLite alone, and may be entered again by a signal handler. It is
    one for the whole process, and a fork waits for it, closes the connection, and leaves it to the
    next call to connect again (see the end of this module).

    Raises:
        InheritedStateError: In a child of a process that was forked while it used the file.
        sqlite3.DatabaseError: If the file is no database, or one of a later version.
    """

    def __init__(self, path: Path, synced: bool) -> None:
        self.path = path
        self._synced = synced
        self._connection: sqlite3.Connection | None = None
        self._file: FileId | None = None
        self._closed = self._is_inside = False
        self._connected = 0
        """How many connections there have been."""
        with connections.lock:
            self._connect()
            _live.add(self)

    @property
    def connection(self) -> sqlite3.Connection:
        """The connection, for the thread that holds `lock`.

        Raises:
            sqlite3.Error: If it cannot be opened again after a fork, or is closed for good.
        """
        return self._connection or self._connect()

    def _connect(self) -> sqlite3.Connection:
        if self._closed:
            raise sqlite3.ProgrammingError("the state is closed")
        if self._file is not None and self.is_gone:
            raise sqlite3.OperationalError("another file is in the place of the state, or none")
        if file_id(self.path) in _inherited:
            raise InheritedStateError(
                errno.EBUSY,
                "the parent of this process had it in use when it forked",
                str(self.path),
            )
        connection = sqlite3.connect(
            self.path,
            timeout=_BUSY_TIMEOUT_S,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
        )
        try:
            self._set_up(connection)
        except BaseException:
            connection.close()
            raise
        self._connection, self._file = connection, file_id(self.path)
        self._connected += 1
        return connection

    def _set_up(self, connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {'FULL' if self._synced else 'NORMAL'}")
        connection.execute("PRAGMA trusted_schema = OFF")
        prepare(connection)

    @property
    def is_gone(self) -> bool:
        """Whether somebody has deleted the file, or put another one in its place."""
        return file_id(self.path) != self._file

    def close(self) -> None:
        """Let go of the file."""
        with connections.lock:
            self._closed = True
            self._disconnect()

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _disown(self) -> None:
        """In a forked child: neither close nor collect the parent's connection, ever, nor open one
        of its own.
        """
        if self._connection is not None and self._file is not None:
            abandon(self._connection)
            _inherited.add(self._file)
        self._closed, self._connection = True, None

    @contextmanager
    def transaction(self, kind: str = "IMMEDIATE") -> Iterator[sqlite3.Connection]:
        """Do all of the block, or nothing of it. Blocks may be nested: the outermost counts.

        A transaction belongs to the call that began it. One that was left open by a call that an
        exception ended half-way is rolled back by the next.
        """
        with connections.lock:
            connection = self.connection
            if connection.in_transaction and self._is_inside:
                yield connection
                return
            try:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                connection.execute(f"BEGIN {kind}")
                self._is_inside = True
                yield connection
                connection.execute("COMMIT")
            finally:
                self._is_inside = False
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Return what a query finds."""
        with connections.lock:
            return self.connection.execute(query, values).fetchall()

    def version(self) -> tuple[int, int]:
        """Return a value that changes when another connection may have changed the file.

        SQLite numbers the changes for each connection: after a fork, the new connection can have
        the number of the former one, and has not seen the changes between the two.
        """
        with connections.lock:
            number = self.rows("PRAGMA data_version")[0][0]
            return self._connected, number

    # Writing, inside a transaction

    def add_counts(self, path: str, counts: Counts | Mapping[str, int]) -> None:
        """Add to the books of a path."""
        values = (
            counts
            if isinstance(counts, Mapping)
            else {name: getattr(counts, name) for name in COUNTED}
        )
        changes = [(path, name, value) for name, value in values.items() if value]
        self.connection.executemany(_ADD_COUNT, changes)
        if isinstance(counts, Counts) and counts.reasons:
            reasons = [(path, to_words(reason), n) for reason, n in counts.reasons.items() if n]
            self.connection.executemany(_ADD_REASON, reasons)

    def add_reasons(self, reasons: Mapping[str, Mapping[str, int]]) -> None:
        """Add to the reasons of paths."""
        rows = [(p, to_words(text), n) for p, texts in reasons.items() for text, n in texts.items()]
        self.connection.executemany(_ADD_REASON, rows)

    def move_cursors(self, lane: str, places: Mapping[str, tuple[int, int]]) -> None:
        """Note how far a lane has read."""
        rows = [(lane, file, offset, records) for file, (offset, records) in places.items()]
        self.connection.executemany("INSERT OR REPLACE INTO cursors VALUES (?, ?, ?, ?)", rows)

    def note_place(self, file: str, offset: int, kind: str, at: float) -> bool:
        """Note that something was found in the journal; False if it was noted before."""
        cursor = self.connection.execute(
            "INSERT OR IGNORE INTO seen VALUES (?, ?, ?, ?)", (file, offset, kind, at)
        )
        return cursor.rowcount > 0

    def retire(self, file: str, path: str, records: int) -> None:
        """Forget a file that all leaves are done with; its events stay received."""
        self.add_counts(path, {"received": records})
        self.connection.execute("INSERT OR IGNORE INTO retired VALUES (?)", (file,))
        self.connection.execute("DELETE FROM cursors WHERE file = ?", (file,))

    # Reading

    def received(self, path: str) -> int:
        """Return how many events of files that are gone a path has received."""
        found = self.rows("SELECT value FROM counts WHERE path = ? AND name = 'received'", path)
        return int(found[0][0]) if found else 0

    def snapshot(self) -> Snapshot:
        """Read the books, all at one moment."""
        with self.transaction("DEFERRED") as connection:
            values = connection.execute("SELECT path, name, value FROM counts").fetchall()
            reasons = connection.execute("SELECT path, reason, value FROM reasons").fetchall()
            cursors = connection.execute(
                "SELECT leaf, file, offset, records FROM cursors"
            ).fetchall()
            retried = connection.execute("SELECT DISTINCT file, offset FROM retries").fetchall()
            reopened = connection.execute(_REOPENED).fetchone()[0]
            retired = connection.execute("SELECT file FROM retired").fetchall()
            lanes = connection.execute(
                "SELECT coalesce(lane, leaf) FROM leaves WHERE NOT gone"
            ).fetchall()
        return Snapshot(
            counts=_counts(values, reasons),
            cursors={(leaf, file): (offset, records) for leaf, file, offset, records in cursors},
            retried=frozenset(retried),
            reopened=reopened,
            retired=frozenset(file for (file,) in retired),
            lanes=frozenset(lane for (lane,) in lanes),
        )


def to_words(text: object) -> str:
    """Turn what may hold lone surrogates, or be no text at all, into text that SQLite takes, for
    people to read.
    """
    return str(text).encode("utf-8", "backslashreplace").decode()


def from_id(event_id: str) -> str | bytes:
    """Turn an event's id into what SQLite takes: the text, or the bytes of one with lone
    surrogates.
    """
    try:
        event_id.encode()
    except UnicodeEncodeError:
        return event_id.encode("utf-8", "surrogatepass")
    return event_id


def to_id(stored: str | bytes) -> str:
    """Turn what `from_id` has made back."""
    return stored if isinstance(stored, str) else stored.decode("utf-8", "surrogatepass")


def _counts(
    values: Sequence[tuple[Any, ...]], reasons: Sequence[tuple[Any, ...]]
) -> dict[str, Counts]:
    found: dict[str, dict[str, Any]] = {}
    for path, name, value in values:
        found.setdefault(path, {})[name] = value
    for path, reason, value in reasons:
        found.setdefault(path, {}).setdefault("reasons", {})[reason] = value
    return {path: Counts(**names) for path, names in found.items()}


# Forks. SQLite keeps, for each file, a note of the locks that the process holds. A forked child
# inherits the notes but not the locks: a connection that it opens itself to a file that was open at
# the fork believes itself protected, and what it commits is thrown away when another process, alone
# as far as the locks tell, closes and deletes the write-ahead log. Hence nothing is open during a
# fork.

_live: weakref.WeakSet[State] = weakref.WeakSet()
_inherited: set[FileId] = set()
"""The files that could not be closed: this process, a child, must never open them."""


def _before_fork(still: bool) -> None:
    for state in list(_live) if still else ():
        state._disconnect()


def _in_child(_still: bool) -> None:
    for state in list(_live):
        state._disown()
    _live.clear()


connections: Final = Gate(_before_fork, _in_child)
"""Held for calls of SQLite, which has locks of its own: a child forked while another thread holds
one would never get it.
"""
