"""The state of a buffer on disk: who has had what, what failed, the dead letters and the books, in
one SQLite file.

Only the delivering process writes here, but for requests to replay or purge, which any process may
leave. Everything that one delivery changes is one transaction, so that a process that dies leaves
either all of it or nothing.
"""

from __future__ import annotations

import ctypes
import errno
import sqlite3
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

import attrs

from eventtracking import Counts, Outcome
from eventtracking_buffer._forks import Gate

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
_LAYOUT: Final = 2
_TABLES: Final = """
CREATE TABLE IF NOT EXISTS leaves (leaf TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS cursors (leaf TEXT, file TEXT, offset INT, records INT,
    PRIMARY KEY (leaf, file)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS retries (
    leaf TEXT, file TEXT, offset INT, attempts INT, had INT, first_at REAL, last_at REAL,
        reason TEXT,
    PRIMARY KEY (leaf, file, offset)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS progress (file TEXT, offset INT, event_id, known TEXT,
    PRIMARY KEY (file, offset)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS dead (
    number INTEGER PRIMARY KEY AUTOINCREMENT, file TEXT, offset INT, event_id, leaf TEXT,
        name TEXT, reason TEXT, attempts INT,
    first_at REAL, last_at REAL, payload BLOB, stored_at REAL, state TEXT DEFAULT 'dead', own INT,
        known TEXT,
    reopened INT DEFAULT 0
);
CREATE INDEX IF NOT EXISTS dead_by_place ON dead (file, offset);
CREATE INDEX IF NOT EXISTS dead_by_state ON dead (state);
CREATE TABLE IF NOT EXISTS counts (path TEXT, name TEXT, value INT, PRIMARY KEY (path, name))
    WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS reasons (path TEXT, reason TEXT, value INT, PRIMARY KEY (path, reason))
    WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS retired (file TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS seen (file TEXT, offset INT, kind TEXT, at REAL, PRIMARY KEY (file,
    offset)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS lanes (leaf TEXT PRIMARY KEY, failures INT, last_error TEXT,
    resume_at REAL, at REAL) WITHOUT ROWID;
"""
_ADD_COUNT: Final = (
    "INSERT INTO counts VALUES (?, ?, ?) ON CONFLICT (path, name) DO UPDATE SET value = value +"
    " excluded.value"
)
_REOPENED: Final = "SELECT count(*) FROM (SELECT DISTINCT file, offset FROM dead WHERE reopened)"
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
    """The books at one moment, but for what is in the journal and nobody has had yet."""

    counts: dict[str, Counts]
    """By path, as they were added up."""
    cursors: dict[tuple[str, str], tuple[int, int]]
    """By leaf and file: up to which offset it was read, and how many events that were."""
    retried: frozenset[tuple[str, int]]
    """The places of events that were had by a leaf, or passed over, and are not final there."""
    reopened: int
    """How many finished events are pending again, because a dead letter of theirs is replayed."""
    retired: frozenset[str]
    leaves: frozenset[str]
    """Those that the last deliverer's config had."""


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
        self.lock = connections
        self._synced = synced
        self._connection: sqlite3.Connection | None = None
        self._file: FileId | None = None
        self._closed = False
        with self.lock:
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
        return connection

    def _set_up(self, connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {'FULL' if self._synced else 'NORMAL'}")
        layout = connection.execute("PRAGMA user_version").fetchone()[0]
        if layout not in (0, _LAYOUT):
            raise sqlite3.DatabaseError(f"the layout is {layout}, and this version reads {_LAYOUT}")
        if not layout:
            connection.executescript(
                f"BEGIN IMMEDIATE; {_TABLES} PRAGMA user_version = {_LAYOUT}; COMMIT;"
            )

    @property
    def is_gone(self) -> bool:
        """Whether somebody has deleted the file, or put another one in its place."""
        return file_id(self.path) != self._file

    def restore(self) -> bool:
        """Write the state to its place again, after somebody has deleted the file that is still
        open here; return whether it was.

        Only the process that delivers may do that.

        Raises:
            OSError, sqlite3.Error: If the medium refuses.
        """
        with self.lock:
            if self._connection is None:  # closed for a fork
                return False
            nascent = self.path.with_name(f"{self.path.name}.new")
            nascent.unlink(missing_ok=True)
            with closing(sqlite3.connect(nascent)) as copy:
                self._connection.backup(copy)
            self._disconnect()
            nascent.rename(self.path)
            self._file = None
            self._connect()
            return True

    def close(self) -> None:
        """Let go of the file."""
        with self.lock:
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
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._connection))
            _inherited.add(self._file)
        self._closed, self._connection = True, None

    @contextmanager
    def transaction(self, kind: str = "IMMEDIATE") -> Iterator[sqlite3.Connection]:
        """Do all of the block, or nothing of it."""
        with self.lock:
            if self.connection.in_transaction:  # a signal handler has interrupted one
                yield self.connection
                return
            self.connection.execute(f"BEGIN {kind}")
            try:
                yield self.connection
            except BaseException:
                self.connection.execute("ROLLBACK")
                raise
            self.connection.execute("COMMIT")

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Return what a query finds."""
        with self.lock:
            return self.connection.execute(query, values).fetchall()

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

    def add_outcomes(self, path: str, outcomes: Iterable[Outcome], each: int = 1) -> None:
        """Add events that are final now to the books of a path, or take them off."""
        values: dict[str, int] = {}
        for outcome in outcomes:
            values[outcome.name.lower()] = values.get(outcome.name.lower(), 0) + each
        self.add_counts(path, values)

    def move_cursors(self, leaf: str, places: Mapping[str, tuple[int, int]]) -> None:
        """Note how far a leaf has read."""
        rows = [(leaf, file, offset, records) for file, (offset, records) in places.items()]
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
            leaves = connection.execute("SELECT leaf FROM leaves").fetchall()
        return Snapshot(
            counts=_counts(values, reasons),
            cursors={(leaf, file): (offset, records) for leaf, file, offset, records in cursors},
            retried=frozenset(retried),
            reopened=reopened,
            retired=frozenset(file for (file,) in retired),
            leaves=frozenset(leaf for (leaf,) in leaves),
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
