"""One connection to one SQLite file, and what goes wrong with files, in words."""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from eventtracking import DeliveryError
from eventtracking_sqlite._rows import COLUMNS, Row

__all__ = ["EventFile", "describe"]

_SCHEMA: Final = (
    """CREATE TABLE IF NOT EXISTS events (
        id TEXT NOT NULL PRIMARY KEY,
        name TEXT NOT NULL,
        timestamp TEXT NOT NULL,
        context TEXT NOT NULL,
        data TEXT NOT NULL,
        extra TEXT NOT NULL DEFAULT '{}'
    )""",
    "CREATE INDEX IF NOT EXISTS events_name_timestamp ON events (name, timestamp)",
    "CREATE INDEX IF NOT EXISTS events_timestamp ON events (timestamp)",
)
_INSERT: Final = (
    f"INSERT INTO events ({', '.join(COLUMNS)}) "  # noqa: S608 - only our own names
    "VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING"
)
_ADVICE: Final = {
    "locked": "another process holds the lock for longer than busy_timeout_s",
    "disk is full": "make room",
    "readonly": "make the file and its folder writable",
    "unable to open": "check that the folder exists and is writable",
    "not a database": "move the file away, and a new one is made",
    "malformed": (
        "move the file away, and a new one is made; `sqlite3 FILE .recover` saves what can be saved"
    ),
    "has no column": "the file has a table `events` of something else; use another path",
    "no such column": "the file has a table `events` of something else; use another path",
}


class EventFile:
    """An open SQLite file with the table `events`. Not safe for threads.

    Args:
        path: The file. It and its folder are made if need be.
        busy_timeout_s: How long to wait for the lock that another process holds.
        synchronous: SQLite's pragma of that name.

    Raises:
        sqlite3.Error: If it cannot be opened.
        OSError: If its folder cannot be made, or it is a link of another user.
    """

    def __init__(self, path: Path, busy_timeout_s: float, synchronous: str) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        _refuse_a_foreign_link(path)
        _create(path)
        self._connection = sqlite3.connect(
            path, timeout=busy_timeout_s, isolation_level=None, check_same_thread=False
        )
        try:
            self._prepare(busy_timeout_s, synchronous)
            self._inode = self._inode_at_path()
        except BaseException:
            self._connection.close()
            raise

    def _prepare(self, busy_timeout_s: float, synchronous: str) -> None:
        self._use_wal(time.monotonic() + busy_timeout_s)
        self._connection.execute(f"PRAGMA synchronous = {synchronous}")
        for statement in _SCHEMA:
            self._connection.execute(statement)

    def _use_wal(self, deadline: float) -> None:
        """Switch to WAL.

        SQLite does not wait for locks here, so that processes starting at once would fail.
        """
        while True:
            try:
                self._connection.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
            else:
                return

    def insert(self, rows: Sequence[Row]) -> None:
        """Insert all rows or none; an id that is there already is left as it is.

        Raises:
            sqlite3.Error: If none was inserted.
        """
        if len(rows) == 1:
            self._connection.execute(_INSERT, rows[0])
            return
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany(_INSERT, rows)
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    @property
    def is_gone(self) -> bool:
        """Whether the file was moved or deleted since: what is written now would vanish with it."""
        return self._inode_at_path() != self._inode

    def _inode_at_path(self) -> tuple[int, int] | None:
        try:
            status = os.stat(self._path)  # noqa: PTH116 - half the time of Path.stat, on the way of each event
        except OSError:
            return None
        return status.st_dev, status.st_ino

    def close(self) -> None:
        """Close the connection. Calling it again does nothing."""
        self._connection.close()


def describe(path: Path, error: sqlite3.Error | OSError) -> DeliveryError:
    """Say what went wrong with a file. SQLite's own texts name tables and columns, never values."""
    text = error.strerror or type(error).__name__ if isinstance(error, OSError) else str(error)
    advice = next((advice for sign, advice in _ADVICE.items() if sign in text), "")
    return DeliveryError(f"cannot store in {str(path)!r}: {text}{f'; {advice}' if advice else ''}")


def _refuse_a_foreign_link(path: Path) -> None:
    """Refuse a link that another user has put there, in a shared folder, before the first event."""
    with suppress(FileNotFoundError):
        found = path.lstat()
        if stat.S_ISLNK(found.st_mode) and found.st_uid not in (0, os.geteuid()):
            raise PermissionError(
                errno.EPERM, f"it is a link of user {found.st_uid}; use a folder of its own"
            )


def _create(path: Path) -> None:
    """Make the file for its user alone; SQLite gives its other files the same mode.

    A reader of another user could hold a lock that stops every writer. An existing file is left
    alone: to open and close it here would let go of the locks of this process.
    """
    with suppress(OSError):  # it exists, or SQLite says better why it cannot be made
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
