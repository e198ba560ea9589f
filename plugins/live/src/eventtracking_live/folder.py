"""The folder of the sockets, and the locks that tell a living process from a dead one.

A POSIX record lock (`lockf`) ends with its process, and a forked child does not inherit it. Closing
any descriptor of a file frees the locks that the process has on it, so a process never opens a lock
file of its own a second time: `_mine` remembers them.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import stat
import tempfile
from pathlib import Path
from typing import Final

import attrs

from eventtracking import EventTrackingError

__all__ = ["MAX_SOCKET_BYTES", "Place", "default_folder", "living_sockets", "longest_path"]

MAX_SOCKET_BYTES: Final = 107
"""The longest path that Linux takes for a Unix socket."""
_mine: set[str] = set()


def default_folder() -> Path:
    """Name the folder: below XDG_RUNTIME_DIR, else a private one in the temporary folder."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    base = Path(runtime) if runtime else Path(tempfile.gettempdir(), f"eventtracking-{os.getuid()}")
    return base / "eventtracking" / "live"


def longest_path(folder: Path) -> int:
    """Return the bytes of the longest path that a socket in the folder may have."""
    return len(os.fsencode(folder / f"{2**22}-{'0' * 8}.sock"))


def _prepared(folder: Path) -> Path:
    """Make the folder with mode 0700, or refuse one that is not private.

    Raises:
        OSError: If it cannot be made.
        EventTrackingError: If others may use it.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.stat()
    if found.st_uid != os.getuid():
        raise EventTrackingError(f"{folder}: belongs to another user; set the option folder")
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise EventTrackingError(f"{folder}: others may use it; set its mode to 0700")
    return folder


@attrs.define(eq=False)
class Place:
    """The socket's path of this process, and the lock that says that it lives."""

    socket: Path
    _lock_fd: int

    @classmethod
    def take(cls, folder: Path) -> Place:
        """Take a new place.

        Raises:
            OSError: If the folder cannot be used.
            EventTrackingError: If others may use it.
        """
        _prepared(folder)
        while True:
            name = f"{os.getpid()}-{secrets.token_hex(4)}"
            lock = folder / f"{name}.lock"
            _mine.add(str(lock))
            fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            fcntl.lockf(fd, fcntl.LOCK_EX)
            if lock.exists():  # a client may have found it before it was locked, and removed it
                return cls(folder / f"{name}.sock", fd)
            os.close(fd)

    def leave(self) -> None:
        """Remove socket and lock."""
        self.socket.unlink(missing_ok=True)
        lock = self.socket.with_suffix(".lock")
        lock.unlink(missing_ok=True)
        _mine.discard(str(lock))
        self.forget()

    def forget(self) -> None:
        """Let go, in a forked child, of the sockets and locks of the parent."""
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1


def living_sockets(folder: Path) -> list[Path]:
    """Return the sockets of living processes; remove those of dead ones."""
    found = []
    for lock in sorted(folder.glob("*.lock")):
        socket = lock.with_suffix(".sock")
        if _is_dead(lock):
            socket.unlink(missing_ok=True)
            lock.unlink(missing_ok=True)
        elif socket.exists():
            found.append(socket)
    return found


def _is_dead(lock: Path) -> bool:
    if str(lock) in _mine:
        return False
    try:
        fd = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(fd)
    return True


os.register_at_fork(after_in_child=_mine.clear)
