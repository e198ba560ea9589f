"""The thread that drives a lane, and how to drive one without it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection
from typing import Final

from eventtracking_buffer._clock import monotonic
from eventtracking_buffer._lane import Lane

__all__ = ["Worker", "stop_all"]

_log = logging.getLogger("eventtracking.buffer")
_CRASH_DELAY_S: Final = 1.0


class Worker:
    """Drives one lane, on a daemon thread that starts on first use.

    Args:
        name: For the thread.
        max_wait_s: The longest sleep, for a store into which other processes write too.
        before: Called before each step; return False to stay idle.
    """

    def __init__(
        self,
        lane: Lane,
        name: str,
        max_wait_s: float = 3600.0,
        before: Callable[[], bool] = lambda: True,
    ) -> None:
        self.lane = lane
        self.stopping = False
        self._name = name
        self._max_wait_s = max_wait_s
        self._before = before
        self._starter = threading.Lock()
        self._thread: threading.Thread | None = None

    @property
    def is_current(self) -> bool:
        """Whether the calling thread is the worker's."""
        return self._thread is not None and self._thread.ident == threading.get_ident()

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread is not None and self._thread.is_alive()

    def wake(self) -> None:
        """Make it look for work, and start it if need be. Never waits; safe in a signal handler."""
        if self._thread is None:
            self._start()
        self.lane.wake()

    def _start(self) -> None:
        if self.stopping or not self._starter.acquire(blocking=False):
            return
        thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        try:
            thread.start()
            self._thread = thread
        except RuntimeError:  # no threads any more: the interpreter ends, and `drive` does the rest
            self._starter.release()

    def _run(self) -> None:
        while not self.stopping:
            try:
                pause_s = self._step()
            except BaseException as error:  # noqa: BLE001 - without this thread nothing would be delivered
                _log.warning("%s: %s; it goes on", self._name, type(error).__name__)
                pause_s = _CRASH_DELAY_S
            if pause_s > 0 and not self.stopping:
                self.lane.wait(min(pause_s, self._max_wait_s))

    def _step(self) -> float:
        if not self._before() or not self.lane.busy.acquire(blocking=False):
            return min(1.0, self._max_wait_s)
        try:
            return self.lane.step()
        finally:
            self.lane.busy.release()

    def drive(self, deadline: float) -> None:
        """Take one step on the calling thread, if no thread drives the lane and it is before a
        monotonic deadline.
        """
        if not self.stopping and not self.is_alive and monotonic() < deadline:
            self._step()

    def stop(self, timeout_s: float) -> bool:
        """Ask the thread to end; return whether it has, within so many seconds."""
        self.stopping = True
        self.lane.wake()
        thread = self._thread
        if thread is None or self.is_current:
            return True
        thread.join(timeout_s)
        return not thread.is_alive()


def stop_all(workers: Collection[Worker], timeout_s: float) -> None:
    """Ask the threads to end, all of them at once, and wait so long."""
    for worker in workers:
        worker.stop(0.0)
    deadline = monotonic() + timeout_s
    for worker in workers:
        worker.stop(max(deadline - monotonic(), 0.0))
