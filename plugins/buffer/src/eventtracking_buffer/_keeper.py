"""The thread that looks after a buffer on disk."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from eventtracking_buffer._clock import monotonic

__all__ = ["Keeper"]

_log = logging.getLogger("eventtracking.buffer")
_CRASH_DELAY_S: Final = 1.0


class Keeper:
    """Calls a function again and again, on a daemon thread.

    Args:
        look: Returns how many seconds to wait before it is called again.
        name: For the thread.
    """

    def __init__(self, look: Callable[[], float], name: str) -> None:
        self._look = look
        self._name = name
        self._busy = threading.Lock()  # only ever asked for without waiting
        self._signal = threading.Lock()
        self._signal.acquire()
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._last: dict[str, float] = {}

    @property
    def is_current(self) -> bool:
        """Whether the calling thread is the keeper's."""
        return self._thread is not None and self._thread.ident == threading.get_ident()

    def start(self) -> None:
        """Start the thread, if the interpreter still starts any."""
        thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        with suppress(RuntimeError):
            thread.start()
            self._thread = thread

    def _run(self) -> None:
        while not self._stopping:
            pause_s = self._look_once()
            if not self._stopping:
                self._signal.acquire(timeout=pause_s)

    def _look_once(self) -> float:
        if not self._busy.acquire(blocking=False):
            return _CRASH_DELAY_S
        try:
            return self._look()
        except BaseException as error:  # noqa: BLE001 - without the keeper nobody would take over
            _log.warning("%s: %s; it goes on", self._name, type(error).__name__)
            return _CRASH_DELAY_S
        finally:
            self._busy.release()

    def drive(self) -> None:
        """Look once on the calling thread, if no thread does."""
        if self._thread is None or not self._thread.is_alive():
            self._look_once()
        else:
            self.wake()

    def wake(self) -> None:
        """Have it look now."""
        with suppress(RuntimeError):  # it was woken already
            self._signal.release()

    def every(self, what: str, seconds: float) -> bool:
        """Whether something is due that is done so often. For the function."""
        now = monotonic()
        if now - self._last.get(what, 0.0) < seconds:
            return False
        self._last[what] = now
        return True

    def stop(self, timeout_s: float) -> None:
        """Ask the thread to end, and wait so long."""
        self._stopping = True
        self.wake()
        if self._thread is not None and not self.is_current:
            self._thread.join(timeout_s)
