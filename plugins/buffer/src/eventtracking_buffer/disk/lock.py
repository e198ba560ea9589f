"""The lock that says which process delivers, and its sign of life."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from eventtracking_buffer.delivery.clock import monotonic
from eventtracking_buffer.disk.folder import open_lock
from eventtracking_buffer.disk.gates import files
from eventtracking_buffer.disk.state.connection import file_id

__all__ = ["SILENT_S", "DeliveryLock"]

_LOCK: Final = "deliverer.lock"
SILENT_S: Final = 10.0
"""A deliverer without a sign of life for so long is stopped, or hangs."""


class DeliveryLock:
    """Says which process delivers. The kernel takes it back when that one dies, however it dies."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / _LOCK
        self._descriptor = -1
        self._since = 0.0

    @property
    def is_mine(self) -> bool:
        """Whether this process holds it."""
        return self._descriptor >= 0

    @property
    def is_lost(self) -> bool:
        """Whether this process holds it, and the file was deleted: another one can take it too."""
        with files.lock:
            if self._descriptor < 0:
                return False
            found = os.fstat(self._descriptor)
            return file_id(self._path) != (found.st_dev, found.st_ino)

    def take(self) -> bool:
        """Take it, unless another process has it. Never waits.

        Raises:
            OSError: If the file cannot be opened.
        """
        with files.lock:
            return self._take()

    def _take(self) -> bool:
        descriptor = open_lock(self._path)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        self._since = time.time()
        self.beat()
        return True

    def beat(self) -> None:
        """Give a sign of life."""
        facts = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": self._since,
            "seen": round(monotonic(), 1),
        }
        with files.lock, suppress(OSError):  # a full disk must keep no process from delivering
            if self._descriptor >= 0:
                former = os.fstat(self._descriptor).st_size
                text = json.dumps(facts).encode().ljust(former)
                os.pwrite(self._descriptor, text, 0)  # at no moment is there half of it to read

    def release(self) -> None:
        """Give it back. In a forked child this does nothing to the parent's."""
        with files.lock:
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1

    def silence(self) -> str:
        """Say so, if the process that delivers gives no sign of life; else nothing."""
        holder = self.holder() or {}
        if holder.get("silent_s", 0.0) <= SILENT_S:
            return ""
        return (
            f"process {holder.get('pid', '?')} on {holder.get('host', '?')}, which delivers, gives"
            " no sign of life; it is stopped, or hangs. Continue it, or end it, and another process"
            " takes over"
        )

    def holder(self) -> dict[str, Any] | None:
        """Tell who delivers: `pid`, `host`, `since` and `silent_s`; None if no process does."""
        with files.lock:
            found = self._holder()
        if found:
            seen = found.pop("seen", None)
            silent_s = monotonic() - seen if isinstance(seen, int | float) else 0.0
            found["silent_s"] = round(silent_s, 1) if silent_s > 0 else 0.0
        return found

    def _holder(self) -> dict[str, Any] | None:
        try:
            flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
            descriptor = os.open(self._path, flags)
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
