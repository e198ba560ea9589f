"""The backend that stores events in an SQLite file."""

from __future__ import annotations

import os
import sqlite3
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import attrs
import msgspec

from eventtracking import DeliveryError, Event, OptionsError, Rejected
from eventtracking.forks import abandon
from eventtracking_sqlite._file import EventFile, describe
from eventtracking_sqlite._rows import Row, row_of
from eventtracking_sqlite._search import find

__all__ = ["SqliteBackend"]

_SLACK_S: Final = 1.0
"""What a wait for another thread may take beyond that thread's own wait for the file."""


@attrs.define(eq=False)
class SqliteBackend:
    """Store each event as a row of the table `events`, in a file that any number of processes may
    share.

    An id is stored once, however often the event is delivered. A batch is one transaction. One
    connection per process, shared by its threads, one at a time.
    """

    path: Annotated[str, msgspec.Meta(min_length=1)] = attrs.field(
        metadata={
            "help": "The file; it and its folder are made if need be. Not on a network file system."
        }
    )
    busy_timeout_s: Annotated[float, msgspec.Meta(gt=0, le=600)] = attrs.field(
        default=5.0,
        metadata={"help": "How long to wait while another process or thread writes, in seconds."},
    )
    synchronous: Literal["normal", "full"] = attrs.field(
        default="normal",
        metadata={
            "help": (
                "normal: a stored event survives kill -9, and a power failure may take the last"
                " ones. full: that too, for a sync per batch."
            )
        },
    )
    _file_path: Path = attrs.field(init=False, repr=False)
    _lock: threading.RLock = attrs.field(init=False, repr=False, factory=threading.RLock)
    """Re-entrant, because a signal handler may close, or fork, in the middle of `send`."""
    _depth: int = attrs.field(init=False, repr=False, default=0)
    """How often the thread that holds the lock has taken it."""
    _to_disconnect: bool = attrs.field(init=False, repr=False, default=False)
    """Whether to do so when the innermost holder has ended: SQLite crashes when a connection is
    closed under a running statement.
    """
    _file: EventFile | None = attrs.field(init=False, repr=False, default=None)
    _is_open: bool = attrs.field(init=False, repr=False, default=False)

    def __attrs_post_init__(self) -> None:
        if self.path.startswith((":memory:", "file:")):
            raise OptionsError(
                {"path": "must name a file; a database in memory is lost with the process"}
            )
        if "\0" in self.path:
            raise OptionsError({"path": "must name a file; no name holds the character NUL"})
        self._file_path = (
            Path(self.path).expanduser().absolute()
        )  # the process may change its folder later

    def open(self) -> None:
        """Open the file, and make the table if need be.

        Raises:
            DeliveryError: If that cannot be done now.
        """
        with self._locked():
            _opened.add(self)
            self._is_open = True
            self._connected()

    def _connected(self) -> EventFile:
        """Return the open file.

        It is opened anew after a fork, after an error, and when another file has taken its place.
        """
        if self._file is not None and self._file.is_gone:
            self._disconnect()
        if self._file is None:
            try:
                self._file = EventFile(self._file_path, self.busy_timeout_s, self.synchronous)
            except (sqlite3.Error, OSError) as error:
                raise describe(self._file_path, error) from None
        return self._file

    def send(self, events: Sequence[Event]) -> None:
        """Store the events that can be stored, all or none of them.

        Raises:
            DeliveryError: If none was stored.
            Rejected: For events that no JSON can tell; the others are stored.
        """
        rows, bad = _rows(events)
        if rows:
            with self._locked():
                self._insert(rows)
        if bad:
            raise Rejected(bad)

    def _insert(self, rows: Sequence[Row]) -> None:
        if not self._is_open:
            raise DeliveryError(f"cannot store in {str(self._file_path)!r}: it is closed")
        file = self._connected()
        try:
            file.insert(rows)
        except sqlite3.Error as error:
            if "locked" not in str(error):
                self._disconnect()  # a damaged or full file may have been replaced by the next time
            raise describe(self._file_path, error) from None

    def search(
        self,
        name: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        context: Mapping[str, Any] | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> list[Event]:
        """Return stored events, the newest first. Never opens, nor waits for a writer.

        Args:
            name: The event's name, or its beginning and `*`.
            since: Not before.
            until: Before.
            context: Values that the context must have, by path: `{"user.id": 7}`.
            after: The id of the last event of the page before.
            limit: At most so many.

        Raises:
            DeliveryError: If the file cannot be read.
        """
        try:
            return find(self._file_path, name, since, until, context, after, limit)
        except sqlite3.Error as error:
            raise describe(self._file_path, error) from None

    def _disconnect(self) -> None:
        if self._depth > 1:
            self._to_disconnect = True
            return
        file, self._file = self._file, None
        self._to_disconnect = False
        if file is not None:
            file.close()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        if not self._lock.acquire(timeout=self.busy_timeout_s + _SLACK_S):
            raise DeliveryError(
                f"cannot store in {str(self._file_path)!r}: other threads are writing for too long"
            )
        self._depth += 1
        try:
            yield
        finally:
            try:
                if self._to_disconnect:
                    self._disconnect()
            finally:
                self._depth -= 1
                self._lock.release()

    def close(self) -> None:
        """Close the file. Calling it again does nothing.

        Raises:
            DeliveryError: If another thread is writing for too long.
        """
        with self._locked():
            self._is_open = False
            self._disconnect()


def _rows(events: Sequence[Event]) -> tuple[list[Row], dict[str, str]]:
    rows, bad = [], {}
    for event in events:
        try:
            rows.append(row_of(event))
        except Exception as error:  # noqa: BLE001 - whatever is wrong with it, it will be wrong the next time
            bad[event.id] = f"cannot be told in JSON ({type(error).__name__})"
    return rows, bad


# Forks. SQLite keeps, for each file, a note of the locks that the process holds. A forked child
# inherits the notes but not the locks: a connection that it opens itself to a file that was open at
# the fork believes itself protected, and what it commits is thrown away when the parent, alone as
# far as the locks tell, closes and deletes the write-ahead log. Hence nothing is open during a
# fork.

_opened: weakref.WeakSet[SqliteBackend] = weakref.WeakSet()
_at_rest: dict[int, list[SqliteBackend]] = {}
"""Those that a thread, by its identity, has locked for the length of its fork."""


def _before_fork() -> None:
    mine = _at_rest[threading.get_ident()] = []
    for backend in list(_opened):
        if backend._lock.acquire(timeout=backend.busy_timeout_s + _SLACK_S):
            mine.append(backend)
            if (
                not backend._depth
            ):  # else a signal handler forks in the middle of a statement of this very thread
                backend._disconnect()


def _after_fork_in_parent() -> None:
    for backend in _at_rest.pop(threading.get_ident(), []):
        backend._lock.release()


def _after_fork_in_child() -> None:
    _at_rest.clear()
    for backend in list(_opened):
        if backend._file is not None:  # it could not be closed in time
            abandon(backend._file)
        backend._file = None
        backend._is_open = False
        backend._lock = threading.RLock()
        backend._depth = 0
        backend._to_disconnect = False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
