"""The thread that drives a lane, and how to drive one without it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from typing import Final

from eventtracking_buffer.delivery.clock import monotonic
from eventtracking_buffer.delivery.lane import Lane
from eventtracking_buffer.delivery.threads import Starter

__all__ = ["Worker", "stop_all"]

_log = logging.getLogger("eventtracking.buffer")
_CRASH_DELAY_S: Final = 1.0


class Worker:
    """Drives one lane, on a daemon thread that starts on first use.

    Args:
        name: For the thread.
        max_wait_s: The longest sleep.
        refused: Told that no thread can be started now.
    """

    def __init__(
        self, lane: Lane, name: str, refused: Callable[[], None], max_wait_s: float = 3600.0
    ) -> None:
        self.lane = lane
        self.stopping = False
        self._name = name
        self._max_wait_s = max_wait_s
        self._thread = Starter(self._run, name, refused)

    @property
    def is_current(self) -> bool:
        """Whether the calling thread is the worker's."""
        return self._thread.is_current

    @property
    def has_thread(self) -> bool:
        """Whether its thread was started."""
        return self._thread.started

    def wake(self) -> None:
        """Make it look for work, and start it if need be. Never waits; safe in a signal handler."""
        if not self._thread.started and not self.stopping:
            self._thread.start()
        self.lane.wake()

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
        if not self.lane.busy.acquire(blocking=False):
            return min(1.0, self._max_wait_s)
        try:
            return self.lane.step()
        finally:
            self.lane.busy.release()

    def drive(self) -> None:
        """Take one step on the calling thread, where no thread drives the lane."""
        if not self.stopping and not self._thread.is_alive and not self._thread.start():
            self._step()

    def stop(self, timeout_s: float) -> bool:
        """Ask the thread to end; return whether it has, within so many seconds."""
        self.stopping = True
        self.lane.wake()
        return self._thread.join(timeout_s)


def stop_all(workers: Collection[Worker], timeout_s: float) -> None:
    """Ask the threads to end, all of them at once, and wait so long."""
    for worker in workers:
        worker.stop(0.0)
    deadline = monotonic() + timeout_s
    for worker in workers:
        worker.stop(max(deadline - monotonic(), 0.0))
