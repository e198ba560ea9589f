"""The folder of a buffer on disk: made where it is missing, and what is in its way set aside."""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from eventtracking_buffer.delivery.clock import monotonic
from eventtracking_buffer.disk.state.connection import State, connections

__all__ = [
    "STATE_NAME",
    "FolderWatch",
    "cause_of",
    "open_lock",
    "open_state",
    "prepare_folder",
    "write_aside",
]

STATE_NAME: Final = "state.db"
_REPAIR_LOCK: Final = "repair.lock"
_REPAIR_WAIT_S: Final = 5.0
_POLL_S: Final = 0.01
_ASIDE: Final = "damaged"
_FOLDER_MODE: Final = 0o700
_FILE_MODE: Final = 0o600
_OTHERS: Final = 0o077
_MAX_ASIDE_BYTES: Final = 64 << 20
_STATE_SUFFIXES: Final = ("", "-wal", "-shm")


def cause_of(error: Exception) -> str:
    """Say what the system says, which holds no event's values."""
    return (error.strerror or "") if isinstance(error, OSError) else str(error)


def prepare_folder(folder: Path) -> list[str]:
    """Make the folder, for this user alone, its parents too. Return what the log should say.

    Raises:
        OSError: If it cannot be made or written to, is a link, or belongs to another user.
    """
    remarks = []
    with suppress(FileNotFoundError):
        mode = folder.lstat().st_mode
        if not stat.S_ISDIR(mode) and not stat.S_ISLNK(mode):
            remarks.append(
                "may be lost: the file in the place of the folder was set aside as"
                f" {_set_aside(folder)}"
            )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        folder.mkdir(mode=_FOLDER_MODE)
    if _make_private(folder):
        remarks.append("could be read or written by other users: the folder is closed to them now")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, "it cannot be written to", str(folder))
    return remarks


def _make_private(folder: Path) -> bool:
    """Close a folder to other users; return whether it was open to them.

    Raises:
        PermissionError: If it is a link, or another user's, who could change it at any time.
    """
    found = folder.lstat()
    if stat.S_ISLNK(found.st_mode):
        raise PermissionError(errno.EPERM, "it is a link; name the folder itself", str(folder))
    if found.st_uid != os.geteuid():
        owner = f"it belongs to user {found.st_uid}, and this process is user {os.geteuid()}"
        raise PermissionError(errno.EPERM, f"{owner}; use a folder of its own", str(folder))
    if not found.st_mode & _OTHERS:
        return False
    folder.chmod(_FOLDER_MODE)
    return True


def write_aside(folder: Path, name: str, data: bytes) -> None:
    """Write a damaged piece into a folder of its own, once, and never through a link.

    Raises:
        OSError: If it cannot be written, or there is too much already.
    """
    aside = folder / _ASIDE
    with suppress(FileNotFoundError):
        if not stat.S_ISDIR(aside.lstat().st_mode) or aside.lstat().st_uid != os.geteuid():
            _set_aside(aside)
    with suppress(FileExistsError):
        aside.mkdir(mode=_FOLDER_MODE)
    _make_private(aside)
    with os.scandir(aside) as entries:
        if sum(entry.stat(follow_symlinks=False).st_size for entry in entries) > _MAX_ASIDE_BYTES:
            return
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(aside / name, flags, _FILE_MODE), "wb") as file:
        file.write(data)


def _is_private(path: Path) -> bool:
    """Whether a file can be used: one of this user's, with one name, open to no other user.

    One that only has a mode that is too open is closed. What is not there can be used.
    """
    try:
        found = path.lstat()
    except FileNotFoundError:
        return True
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_nlink != 1:
        return False
    if found.st_mode & _OTHERS:
        path.chmod(_FILE_MODE)
    return True


def open_state(folder: Path, synced: bool) -> tuple[State, list[str]]:
    """Open the state.

    One that is damaged or foreign is set aside, and a new one made: then events come again.

    Returns:
        The state, and what was set aside.

    Raises:
        OSError, sqlite3.Error: If it cannot be made.
    """
    path = folder / STATE_NAME
    state = _open_sound(path, synced)
    if state is not None:
        return state, []
    with _alone(folder / _REPAIR_LOCK):
        state = _open_sound(path, synced)  # another process may have replaced it meanwhile
        if state is not None:
            return state, []
        aside = []
        for suffix in _STATE_SUFFIXES:
            with suppress(FileNotFoundError):
                aside.append(_set_aside(path.with_name(path.name + suffix)))
        return _make_state(path, synced), aside[:1]


def _make_state(path: Path, synced: bool) -> State:
    """Open a state, made for this user alone if it is new; SQLite gives its other files that mode.

    Raises:
        OSError, sqlite3.Error: If it cannot be opened.
    """
    with connections.lock:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        if not path.exists():
            os.close(os.open(path, flags, _FILE_MODE))
    return State(path, synced)


def _open_sound(path: Path, synced: bool) -> State | None:
    """Open a state; None if it is damaged or foreign."""
    if not all(_is_private(path.with_name(path.name + suffix)) for suffix in _STATE_SUFFIXES):
        return None
    state = None
    try:
        state = _make_state(path, synced)
        if state.rows("PRAGMA quick_check(1)")[0][0] == "ok":
            sound, state = state, None
            return sound
    except (
        sqlite3.OperationalError
    ):  # newer, busy, full or read-only: nothing is wrong with the file
        raise
    except sqlite3.DatabaseError:
        pass
    finally:
        if state is not None:
            state.close()
    return None


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold a lock between processes, for as long as a repair takes.

    A fork waits for its end, so that no child keeps the lock.

    Raises:
        BlockingIOError: If another process has it for too long.
    """
    deadline = monotonic() + _REPAIR_WAIT_S
    with connections.lock:
        descriptor = open_lock(path)
        try:
            _wait_for_lock(descriptor, deadline)
            yield
        finally:
            os.close(descriptor)


def _wait_for_lock(descriptor: int, deadline: float) -> None:
    while not _lock(descriptor, last=monotonic() >= deadline):
        time.sleep(_POLL_S)


def open_lock(path: Path) -> int:
    """Open a lock's file. What stands in its place, and is none of ours, is removed."""
    if not _is_private(path):
        path.unlink(missing_ok=True)
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    return os.open(path, flags, _FILE_MODE)


def _lock(descriptor: int, last: bool) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if last:
            raise
        return False
    return True


def _set_aside(path: Path) -> str:
    target = path.with_name(f"{path.name}.damaged-{time.time_ns()}")
    path.rename(target)
    return target.name


class FolderWatch:
    """Compares the time of a folder's last change, in one system call.

    Args:
        again_s: Report a change after so long anyway: some file systems keep no such time.
    """

    def __init__(self, folder: Path, monotonic: Callable[[], float], again_s: float) -> None:
        self._folder = folder
        self._monotonic = monotonic
        self._again_s = again_s
        self._stamp, self._again_at = 0, 0.0

    def has_changed(self) -> bool:
        """Return whether it may have changed since the last call.

        Raises:
            OSError: If it is gone.
        """
        now, stamp = self._monotonic(), os.stat(self._folder).st_mtime_ns  # noqa: PTH116 - quicker
        if stamp == self._stamp and now < self._again_at:
            return False
        # After a change once more next time: the clock of files is coarse.
        self._again_at = now if stamp != self._stamp else now + self._again_s
        self._stamp = stamp
        return True
