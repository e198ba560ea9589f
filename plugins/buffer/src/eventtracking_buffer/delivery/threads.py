"""A daemon thread that starts on first use, and is tried again where none can be started."""

from __future__ import annotations

import _thread
import threading
from collections.abc import Callable
from typing import Final

from eventtracking_buffer.delivery.clock import monotonic

__all__ = ["Starter"]

_START_AGAIN_S: Final = 0.2


class Starter:
    """Starts one thread, once.

    A signal handler may raise at any call, and `threading.Thread.start` breaks its thread then. The
    primitive below it is one step. The thread itself says that it runs, so that where `start` was
    interrupted no second one does the same.

    Args:
        run: The work of the thread.
        name: Its name.
        refused: Told that the system, or the end of the interpreter, refuses a new thread.
    """

    def __init__(
        self, run: Callable[[], None], name: str, refused: Callable[[], None] = lambda: None
    ) -> None:
        self._run = run
        self._name = name
        self._refused = refused
        self._identity = 0
        self._runs = threading.Lock()  # the first thread takes it, and keeps it
        self._lives = threading.Lock()  # held until the thread ends
        self._lives.acquire()
        self._has_ended = False
        self._again_at = 0.0

    @property
    def started(self) -> bool:
        """Whether the thread was started, and runs or has run."""
        return self._identity != 0

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._identity != 0 and not self._has_ended

    @property
    def is_current(self) -> bool:
        """Whether the calling thread is this one."""
        return self._identity == threading.get_ident()

    def start(self) -> bool:
        """Start the thread, unless it was started; return whether there is one."""
        if self._identity:
            return True
        if monotonic() < self._again_at:
            return False
        try:
            identity = _thread.start_new_thread(self._first, ())
        except RuntimeError:  # "can't start new thread", also while the interpreter ends
            self._again_at = monotonic() + _START_AGAIN_S
            self._refused()
            return False
        if not self.started:  # else it has said so itself
            self._identity = identity
        return True

    def _first(self) -> None:
        if not self._runs.acquire(blocking=False):  # another one was started at the same moment
            return
        self._identity = threading.get_ident()
        threading.current_thread().name = self._name
        try:
            self._run()
        finally:
            self._has_ended = True
            self._lives.release()

    def join(self, timeout_s: float) -> bool:
        """Wait for the end of the thread; return whether it has ended, or is the calling one."""
        if not self._identity or self.is_current:
            return True
        if self._lives.acquire(timeout=max(timeout_s, 0.0)):
            self._lives.release()
        return self._has_ended
