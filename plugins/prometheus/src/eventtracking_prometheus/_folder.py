"""The folder that processes share, and the locks that tell the living from the dead.

A POSIX record lock (`lockf`) belongs to one process: the kernel frees it when the process ends,
however it ends, and a forked child does not inherit it. One trap: closing *any* descriptor of a
file frees the locks that the process has on it. So a process never opens a lock file of its own a
second time; `_mine` remembers them.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import stat
import tempfile
import threading
from pathlib import Path
from typing import Final

import attrs

from eventtracking import EventTrackingError

__all__ = ["LOCK_SUFFIX", "FileLock", "default_folder", "is_dead", "new_lock", "prepared"]

LOCK_SUFFIX: Final = ".lock"
_mine: set[str] = set()
_mine_lock = threading.Lock()


def default_folder(port: int) -> Path:
    """Name the folder for a port: below XDG_RUNTIME_DIR, else in the temporary folder."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    base = Path(runtime) if runtime else Path(tempfile.gettempdir(), f"eventtracking-{os.getuid()}")
    return base / "eventtracking" / f"prometheus-{port}"


def prepared(folder: Path) -> Path:
    """Make a folder that no other user can write to.

    Raises:
        OSError: If it cannot be made.
        EventTrackingError: If it is another user's, or open to all.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.stat()
    if found.st_uid not in (os.getuid(), 0) and os.getuid() != 0:
        raise EventTrackingError(f"{folder}: belongs to another user; set the option folder")
    if found.st_mode & stat.S_IWOTH:
        raise EventTrackingError(f"{folder}: every user may write to it; set its mode to 0700")
    return folder


@attrs.define(eq=False)
class FileLock:
    """A lock that this process holds until `release`, or its end."""

    path: Path
    _fd: int

    @classmethod
    def take(cls, path: Path) -> FileLock | None:
        """Take a lock, unless another process, or this one, has it already."""
        with _mine_lock:
            if str(path) in _mine:
                return None
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            if not _locked(fd) or not _is_at(fd, path):
                os.close(fd)
                return None
            _mine.add(str(path))
        return cls(path, fd)

    def release(self) -> None:
        """Let go of it. The file stays."""
        with _mine_lock:
            if self._fd >= 0:
                _mine.discard(str(self.path))
                os.close(self._fd)
                self._fd = -1

    def forget(self) -> None:
        """Let go, in a forked child, of the files and locks of the parent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def new_lock(folder: Path) -> FileLock:
    """Make a lock file of a new name, and take it.

    A housekeeper may find the new file before it is locked, and remove it: then another is made.
    """
    while True:
        path = folder / f"{os.getpid()}-{secrets.token_hex(4)}{LOCK_SUFFIX}"
        lock = FileLock.take(path)
        if lock is not None:
            return lock


def is_dead(lock_path: Path) -> bool:
    """Tell whether the process that made a lock file has ended."""
    with _mine_lock:
        if str(lock_path) in _mine:
            return False
        try:
            fd = os.open(lock_path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return True
        try:
            return _locked(fd)
        finally:
            os.close(fd)


def _locked(fd: int) -> bool:
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _is_at(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))  # noqa: PTH116 - os.stat beside os.fstat
    except FileNotFoundError:
        return False


def _after_fork_in_child() -> None:
    global _mine_lock  # noqa: PLW0603 - another thread of the parent may have held the old one
    _mine_lock = threading.Lock()
    _mine.clear()


os.register_at_fork(after_in_child=_after_fork_in_child)
