"""The thread on which a buffer changes what it holds.

A signal handler runs on the main thread, and may raise at any call there. What must happen whole is
therefore never done on a thread of the application: it is handed to this one. An exception then
interrupts a wait, and nothing else.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, TypeVar

from eventtracking.errors import DeliveryError
from eventtracking_buffer.delivery.clock import monotonic
from eventtracking_buffer.delivery.threads import Starter

__all__ = ["Housekeeper"]

_log = logging.getLogger("eventtracking.buffer")
_CRASH_DELAY_S: Final = 1.0
_LOOK_S: Final = 1.0
_Result = TypeVar("_Result")


class _Call:
    """One call that another thread waits for."""

    __slots__ = ("_action", "_done", "_error", "_result")

    def __init__(self, action: Callable[[], Any]) -> None:
        self._action = action
        self._done = threading.Lock()
        self._done.acquire()
        self._result: Any = None
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            self._result = self._action()
        except BaseException as error:  # noqa: BLE001 - it is raised where the call came from
            self._error = error
        finally:
            self._done.release()

    def wait(self, alive: Callable[[], bool]) -> bool:
        """Wait until it was done; return False if it never will be."""
        while not self._done.acquire(timeout=_LOOK_S):
            if not alive():
                return False
        return True

    @property
    def result(self) -> Any:
        if self._error is not None:
            raise self._error
        return self._result


class Housekeeper:
    """Runs calls of other threads, and a function again and again, on a daemon thread.

    Where no thread can be started, calls run on the thread that asks.

    Args:
        name: For the thread.
        look: Returns how many seconds to wait before it is called again.
        refused: Told that no thread can be started now.
    """

    def __init__(
        self,
        name: str,
        look: Callable[[], float] = lambda: 3600.0,
        refused: Callable[[], None] = lambda: None,
    ) -> None:
        self._name = name
        self._look = look
        self._calls: deque[_Call] = deque()
        self._alone = threading.RLock()
        """Held while anything runs, for the calls on other threads where there is none."""
        self._signal = threading.Lock()
        self._signal.acquire()
        self._thread = Starter(self._run, name, refused)
        self._stopping = self._look_now = False
        self._last: dict[str, float] = {}
        self._process = os.getpid()

    @property
    def is_current(self) -> bool:
        """Whether the calling thread is this one."""
        return self._thread.is_current

    def start(self) -> bool:
        """Start the thread; return whether there is one."""
        return self._thread.start()

    def call(self, action: Callable[[], _Result]) -> _Result:
        """Do something on the thread, and return what it returns, or raise what it raises."""
        if self.is_current:
            return action()
        if self._stopping or not self._thread.start():
            with self._alone:
                return action()
        call = _Call(action)
        self._calls.append(call)
        self._notify()
        if not call.wait(self._serves):
            if self._process != os.getpid():
                raise DeliveryError("a fork has interrupted the buffer; ask its parent again")
            self._serve()  # the thread has ended a moment ago
        result: _Result = call.result
        return result

    def _serves(self) -> bool:
        return self._process == os.getpid() and (self._thread.is_alive or not self._thread.started)

    def post(self, action: Callable[[], object]) -> None:
        """Have something done soon, without waiting for it."""
        if not self._thread.start():
            self.call(action)
            return
        self._calls.append(_Call(action))
        self._notify()

    def drive(self) -> None:
        """Look once on the calling thread, if there is no other; else have the other look."""
        if not self._thread.start():
            with self._alone:
                self._look_once()
        else:
            self.wake()

    def wake(self) -> None:
        """Have it look now."""
        self._look_now = True
        self._notify()

    def _notify(self) -> None:
        with suppress(RuntimeError):  # it was woken already
            self._signal.release()

    def _run(self) -> None:
        while not self._stopping:
            self._look_now = False
            self._serve()
            with self._alone:
                pause_s = self._look_once()
            until = monotonic() + pause_s
            self._serve()
            while monotonic() < until and not (self._look_now or self._stopping):
                self._signal.acquire(timeout=max(until - monotonic(), 0.0))
                self._serve()
        self._serve()

    def _serve(self) -> None:
        """Run what is asked for."""
        while self._calls:
            with self._alone, suppress(IndexError):
                self._calls.popleft().run()

    def _look_once(self) -> float:
        try:
            return self._look()
        except BaseException as error:  # noqa: BLE001 - without this thread nobody would take over
            _log.warning("%s: %s; it goes on", self._name, type(error).__name__)
            return _CRASH_DELAY_S

    def every(self, task: str, seconds: float) -> bool:
        """Whether a task is due that is done so often. For `look`."""
        now = monotonic()
        if now - self._last.get(task, 0.0) < seconds:
            return False
        self._last[task] = now
        return True

    def stop(self, timeout_s: float) -> None:
        """Ask the thread to end, and wait so long. Later calls run on the thread that asks."""
        self._stopping = True
        self.wake()
        self._thread.join(timeout_s)
