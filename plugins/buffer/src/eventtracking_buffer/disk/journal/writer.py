"""Appends to the journal: each process to its own file."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import itertools
import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from eventtracking_buffer.disk.gates import files
from eventtracking_buffer.disk.journal.files import SUFFIX
from eventtracking_buffer.disk.journal.reader import is_abandoned

__all__ = ["JournalWriter", "delete_unfinished"]

_MAX_FILE_BYTES: Final = 8 << 20
_UNFINISHED: Final = ".new"
_UNFINISHED_S: Final = 60.0
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


def delete_unfinished(folder: Path) -> None:
    """Delete files that a process was making when it died. They hold no events."""
    for path in folder.glob(f"*{SUFFIX}{_UNFINISHED}"):
        with suppress(OSError):
            if time.time() - path.lstat().st_mtime > _UNFINISHED_S and is_abandoned(path):
                path.unlink()


class JournalWriter:
    """Appends records for one process.

    `append` is safe on any thread and in a signal handler: it is one system call. `turn` is for the
    housekeeper.

    Args:
        synced: Whether an append returns only when the bytes are on the medium.
    """

    def __init__(self, folder: Path, synced: bool) -> None:
        self._folder = folder
        self._synced = synced
        self._descriptor = -1
        self._former = -1
        self._is_broken = False
        self.name = ""
        self.size = 0
        """Bytes in the current file."""

    @property
    def is_due(self) -> bool:
        """Whether the next file should be started."""
        return self.size > _MAX_FILE_BYTES or self._is_broken or self._descriptor < 0

    def append(self, data: bytes) -> None:
        """Append whole records.

        Raises:
            OSError: If they are not stored.
        """
        if self._is_broken or self._descriptor < 0:
            raise OSError(errno.EAGAIN, "the next file of the journal is being opened")
        written = _write(self._descriptor, data)
        self.size += written
        if written != len(data):  # the medium is full: no record may follow half a record
            self._is_broken = True
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if self._synced:
            os.fdatasync(self._descriptor)

    def turn(self) -> None:
        """Start the next file.

        The last one stays open for a while, because other threads may be writing to it.

        Raises:
            OSError: If it cannot be made.
        """
        with files.lock:
            name = f"{time.time_ns():020d}-{os.getpid()}-{next(_names)}{SUFFIX}"
            descriptor = self._create(name)
            if self._synced:
                self._sync_folder()
            former, self._former = self._former, self._descriptor
            self.name, self.size, self._descriptor = name, 0, descriptor
            self._is_broken = False
            if former >= 0:
                os.close(former)

    def _create(self, name: str) -> int:
        """Make a file; it gets its name when it is locked.

        A deliverer would take one without a lock for abandoned.
        """
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        unfinished = self._folder / f"{name}{_UNFINISHED}"
        descriptor = os.open(unfinished, flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            unfinished.rename(self._folder / name)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _sync_folder(self) -> None:
        descriptor = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def is_lost(self) -> bool:
        """Whether the current file was deleted, so that its events are out of reach."""
        with files.lock:
            return self._descriptor >= 0 and os.fstat(self._descriptor).st_nlink == 0

    def close(self) -> None:
        """Let go of the files, so that they count as abandoned.

        In a forked child this does nothing to the parent's.
        """
        with files.lock:
            descriptors = self._former, self._descriptor
            self._former = self._descriptor = -1
            _close_all(descriptors)


def _close_all(descriptors: Iterable[int]) -> None:
    for descriptor in descriptors:
        if descriptor >= 0:
            with suppress(OSError):
                os.close(descriptor)
