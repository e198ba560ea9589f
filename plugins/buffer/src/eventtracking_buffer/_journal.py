"""The journal: files to which processes append events, each process to its own, and from which one
of them delivers.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import itertools
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from eventtracking_buffer._clock import monotonic
from eventtracking_buffer._forks import files
from eventtracking_buffer._records import EVENT, HEADER_BYTES, Record, claimed_bytes, read_records
from eventtracking_buffer._state import file_id

__all__ = [
    "JournalReader",
    "JournalWriter",
    "is_abandoned",
    "journal_bytes",
    "journal_files",
    "unusable_files",
]

_SUFFIX: Final = ".journal"
_MAX_FILE_BYTES: Final = 8 << 20
_RAW_BYTES: Final = 64 << 10
_TURN_WAIT_S: Final = 1.0
_READ_BYTES: Final = 256 << 10
_SETTLED_S: Final = 1.0
_LATE_S: Final = 0.05
_PASSING: Final = frozenset([errno.ENOENT, errno.EMFILE, errno.ENFILE, errno.ENOMEM])
"""Errors that say nothing about a file that is there."""
_names = itertools.count()


def _write_function() -> Callable[[int, bytes], int]:
    """Return `os.write` for a file, but one that keeps the interpreter's lock for that microsecond.

    Where `os.write` lets go of it, a busy delivering thread takes it for 5 milliseconds, and each
    emit() would wait for that.
    """
    try:
        function = ctypes.PyDLL(None, use_errno=True).write
    except (OSError, AttributeError, TypeError):  # no CPython, or no POSIX
        return os.write
    function.argtypes, function.restype = (
        (ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t),
        ctypes.c_ssize_t,
    )

    def write(descriptor: int, data: bytes) -> int:
        written: int = function(descriptor, data, len(data))
        if written < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return written

    return write


_write: Final = _write_function()


def journal_files(folder: Path) -> list[str]:
    """Return the names of the journal's files, oldest first.

    What only has such a name, as a folder has, is none.
    """
    with os.scandir(folder) as entries:
        return sorted(
            entry.name for entry in entries if entry.name.endswith(_SUFFIX) and _is_ours(entry)
        )


def _is_ours(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a file of this user's, and no link: anything else may be a trap."""
    try:
        found = entry.stat(follow_symlinks=False)
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid()


def unusable_files(folder: Path) -> list[str]:
    """Return the names of what stands between the journal's files and cannot be read."""
    with os.scandir(folder) as entries:
        found = [entry for entry in entries if entry.name.endswith(_SUFFIX)]
        return sorted(
            entry.name
            for entry in found
            if not _is_ours(entry) or not os.access(entry.path, os.R_OK)
        )


def journal_bytes(folder: Path) -> int:
    """Return how long the journal's files are together."""
    with os.scandir(folder) as entries:
        return sum(
            entry.stat(follow_symlinks=False).st_size
            for entry in entries
            if entry.name.endswith(_SUFFIX) and _is_ours(entry)
        )


def _open_to_read(path: Path) -> int:
    """Open a file of the journal.

    Raises:
        OSError: If it cannot be opened, is no file, is a link, or belongs to another user.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    found = os.fstat(descriptor)
    if stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid():
        return descriptor
    os.close(descriptor)
    raise PermissionError(errno.EPERM, "no file of this user's", str(path))


def _copy(source: int, target: int, offset: int) -> int:
    """Append what a file has from a place on to another one. Return where it ended.

    Raises:
        OSError: If it cannot be read, or the medium is full.
    """
    data = os.pread(source, max(os.fstat(source).st_size - offset, 0), offset)
    if os.write(target, data) != len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return offset + len(data)


def is_abandoned(path: Path) -> bool:
    """Whether it is known that no living process appends to a file.

    Its writer holds a lock, which the kernel takes back when it dies.
    """
    with files:
        try:
            descriptor = _open_to_read(path)
        except FileNotFoundError:
            return True
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return False
        finally:
            os.close(descriptor)
        return True


class JournalWriter:
    """Appends records for one process.

    Safe from any thread and signal handler: an append is one system call.

    Args:
        synced: Whether an append returns only when the bytes are on the medium.
    """

    def __init__(self, folder: Path, synced: bool) -> None:
        self._folder = folder
        self._synced = synced
        self._turning = threading.Lock()  # only ever asked for without waiting
        self._turner = 0
        self._descriptor = -1
        self._former = -1
        self.name = ""
        self.size = 0
        """The bytes in the current file."""

    def append(self, data: bytes) -> None:
        """Append whole records.

        Raises:
            OSError: If they are not stored.
        """
        if self._descriptor < 0 or self.size > _MAX_FILE_BYTES:
            self._turn()
        descriptor = self._descriptor if self._descriptor >= 0 else self._wait_for_turn()
        written = _write(descriptor, data)
        self.size += written
        if written != len(
            data
        ):  # the medium is full; what follows would stand behind a torn record
            self.size = _MAX_FILE_BYTES + 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if self._synced:
            os.fdatasync(descriptor)

    def _wait_for_turn(self) -> int:
        """Wait for the thread that opens the first file; it may be this very one, interrupted by a
        signal.
        """
        deadline = monotonic() + _TURN_WAIT_S
        while (
            self._descriptor < 0
            and self._turner != threading.get_ident()
            and monotonic() < deadline
        ):
            time.sleep(0.001)
            self._turn()
        if self._descriptor < 0:
            raise OSError(errno.EAGAIN, "the journal is being opened")
        return self._descriptor

    def _turn(self) -> None:
        """Start the next file.

        The last one stays open for a while, because other threads may be writing to it.
        """
        if not self._turning.acquire(blocking=False):
            return
        self._turner = threading.get_ident()
        try:
            with files:
                self._start_next()
        finally:
            self._turner = 0
            self._turning.release()

    def _start_next(self) -> None:
        name = f"{time.time_ns():020d}-{os.getpid()}-{next(_names)}{_SUFFIX}"
        descriptor = self._create(name)
        if self._synced:
            self._sync_folder()
        former, self._former = self._former, self._descriptor
        self.name, self.size, self._descriptor = name, 0, descriptor
        if former >= 0:
            os.close(former)

    def _create(self, name: str) -> int:
        """Make a file.

        It gets its name when it is locked: a deliverer would take one without a lock for abandoned.
        """
        descriptor = self._open_nascent(name)
        self._rename(descriptor, name)
        return descriptor

    def _open_nascent(self, name: str) -> int:
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        descriptor = os.open(self._folder / f"{name}.new", flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _rename(self, descriptor: int, name: str) -> None:
        try:
            (self._folder / f"{name}.new").rename(self._folder / name)
        except BaseException:
            os.close(descriptor)
            raise

    def _sync_folder(self) -> None:
        descriptor = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def is_lost(self) -> bool:
        """Whether somebody has deleted the current file, so that nobody will ever read it."""
        with files:
            if self._descriptor < 0:
                return False
            found = os.fstat(self._descriptor)
            return file_id(self._folder / self.name) != (found.st_dev, found.st_ino)

    def restore(self) -> None:
        """Write the current file once more in its place, under its name, and go on there: all that
        was noted of it stays true.

        Raises:
            OSError: If it cannot be written.
        """
        with files:
            lost, former = self._descriptor, self._former
            descriptor = self._open_nascent(self.name)
            copied = _copy(lost, descriptor, 0)
            self._rename(descriptor, self.name)
            self._former, self._descriptor = lost, descriptor
            time.sleep(_LATE_S)
            _copy(lost, descriptor, copied)  # what threads have appended that were about to
            if former >= 0:
                os.close(former)

    def close(self) -> None:
        """Let go of the files, so that they count as abandoned.

        In a forked child this does nothing to the parent's.
        """
        with files:
            descriptors = self._former, self._descriptor
            self._former = self._descriptor = -1
            for descriptor in descriptors:
                if descriptor >= 0:
                    with suppress(OSError):
                        os.close(descriptor)


class JournalReader:
    """Reads one file of the journal from a place on.

    For one thread. The file is open only while it reads.
    """

    def __init__(self, path: Path, offset: int = 0, records: int = 0) -> None:
        self.path = path
        self.name = path.name
        self.offset = offset
        """Everything before has been read."""
        self.records = records
        """How many events were before it."""
        self.damaged_to = -1
        """Where the last damaged piece ended: one that starts there belongs to it."""

    @property
    def unread(self) -> int:
        """How many bytes are behind the place."""
        try:
            return max(self.size() - self.offset, 0)
        except FileNotFoundError:
            return 0

    def size(self) -> int:
        """Return how many bytes the file has.

        Raises:
            FileNotFoundError: If it is gone.
        """
        return os.stat(self.path).st_size  # noqa: PTH116 - quicker, and polled

    def read(self) -> Iterator[Record]:
        """Yield what is there: nothing, as long as the file cannot be read.

        The caller says with `advance` how far it has come.

        Raises:
            OSError: If the file is gone, or the system is out of something for the moment.
        """
        size = _READ_BYTES
        while True:
            try:
                data, file_bytes = self._pread(size, self.offset)
            except OSError as error:
                if error.errno in _PASSING:
                    raise
                return
            found = False
            for record in read_records(data, self.offset, file_bytes, self._is_settled):
                found = True
                yield record
            wanted = claimed_bytes(data)
            if not found and (len(data) < size or wanted <= size):
                return
            size = _READ_BYTES if found else wanted

    def _is_settled(self) -> bool:
        """Whether nobody is just writing the end of the file: a part of what one call writes can be
        seen before the rest.
        """
        return is_abandoned(self.path) or time.time() - os.stat(self.path).st_mtime > _SETTLED_S  # noqa: PTH116 - as above

    def advance(self, record: Record) -> None:
        """Move on behind a record."""
        self.offset = record.end
        if not record.kind:
            self.damaged_to = record.end
        self.records += record.kind == EVENT

    def raw_at(self, offset: int) -> bytes:
        """Return what stands where a record was."""
        try:
            return self._pread(_RAW_BYTES, offset)[0]
        except OSError:
            return b""

    def peek(self) -> Record | None:
        """Return the next record, if it is whole and in its place."""
        return self.record_at(self.offset)

    def rest(self) -> bytes:
        """Return what is behind the last whole record, or the beginning of it.

        Raises:
            OSError: If it cannot be read.
        """
        size = min(self.unread, _RAW_BYTES)
        return self._pread(size, self.offset)[0] if size else b""

    def skip(self, count: int) -> None:
        """Move on without reading."""
        self.offset += count

    def record_at(self, offset: int) -> Record | None:
        """Read one record again; None if it is damaged now, or the file is gone.

        Raises:
            OSError: If it cannot be read for another reason, which says nothing about the record.
        """
        try:
            head, file_bytes = self._pread(HEADER_BYTES, offset)
            length = min(claimed_bytes(head), max(file_bytes - offset, 0))
            data, _ = self._pread(length, offset)
        except FileNotFoundError:
            return None
        record = next(read_records(data, offset), None)
        return record if record is not None and record.kind else None

    def _pread(self, size: int, offset: int) -> tuple[bytes, int]:
        """Read a piece of the file. Return how long the file is, too."""
        with files:
            descriptor = _open_to_read(self.path)
            try:
                return os.pread(descriptor, size, offset), os.fstat(descriptor).st_size
            finally:
                os.close(descriptor)
