"""The folder of a buffer on disk: made where it is missing, and what is in its way set aside."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from eventtracking_buffer._forks import files
from eventtracking_buffer._state import State, connections, file_id

__all__ = ["STATE_NAME", "DeliveryLock", "cause_of", "open_state", "prepare_folder"]

STATE_NAME: Final = "state.db"
_LOCK: Final = "deliverer.lock"
_REPAIR_LOCK: Final = "repair.lock"
_REPAIR_WAIT_S: Final = 5.0
_POLL_S: Final = 0.01


def cause_of(error: Exception) -> str:
    """Say what the system says, which holds no event's values."""
    return (error.strerror or "") if isinstance(error, OSError) else str(error)


def prepare_folder(folder: Path) -> list[str]:
    """Make the folder, its parents too. Return what had to be set aside.

    Raises:
        OSError: If it cannot be made or written to.
    """
    aside = []
    if folder.exists() and not folder.is_dir():
        aside.append(_set_aside(folder))
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(f"{folder} cannot be written to")
    return aside


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
        aside = [_set_aside(path)] if path.exists() else []
        for suffix in ("-wal", "-shm"):
            with suppress(FileNotFoundError):
                _set_aside(path.with_name(path.name + suffix))
        return State(path, synced), aside


def _open_sound(path: Path, synced: bool) -> State | None:
    """Open a state; None if it is damaged or foreign."""
    state = None
    try:
        state = State(path, synced)
        if state.rows("PRAGMA quick_check(1)")[0][0] == "ok":
            sound, state = state, None
            return sound
    except sqlite3.OperationalError:  # busy, full or read-only: nothing is wrong with the file
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
    deadline = time.monotonic() + _REPAIR_WAIT_S
    with connections:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            while not _lock(descriptor, last=time.monotonic() >= deadline):
                time.sleep(_POLL_S)
            yield
        finally:
            os.close(descriptor)


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


class DeliveryLock:
    """Says which process delivers. The kernel takes it back when that one dies, however it dies."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / _LOCK
        self._descriptor = -1

    @property
    def is_mine(self) -> bool:
        """Whether this process holds it."""
        return self._descriptor >= 0

    @property
    def is_lost(self) -> bool:
        """Whether this process holds it, and somebody has deleted the file, so that others can take
        it too.
        """
        with files:
            if self._descriptor < 0:
                return False
            found = os.fstat(self._descriptor)
            return file_id(self._path) != (found.st_dev, found.st_ino)

    def take(self) -> bool:
        """Take it, unless another process has it. Never waits.

        Raises:
            OSError: If the file cannot be opened.
        """
        with files:
            return self._take()

    def _take(self) -> bool:
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            text = json.dumps(
                {"pid": os.getpid(), "host": socket.gethostname(), "since": time.time()}
            )
            former = os.fstat(descriptor).st_size
            os.pwrite(
                descriptor, text.encode().ljust(former), 0
            )  # at no moment is there half of it to read
        except BlockingIOError:
            os.close(descriptor)
            return False
        except OSError:  # a full disk must not keep anybody from delivering
            pass
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        """Give it back. In a forked child this does nothing to the parent's."""
        with files:
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1

    def holder(self) -> dict[str, Any] | None:
        """Tell who delivers: `pid`, `host` and `since`; None if nobody does."""
        with files:
            return self._holder()

    def _holder(self) -> dict[str, Any] | None:
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            with suppress(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return None
            found = json.loads(os.pread(descriptor, 4_096, 0) or b"{}")
        except ValueError:
            return {}
        finally:
            os.close(descriptor)
        return found if isinstance(found, dict) else {}
