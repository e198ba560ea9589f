"""The pulse of a process that delivers: it calls `tick` of the backends below, once a second."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from eventtracking.protocols import Downstream

__all__ = ["Pulse"]

_INTERVAL_S: Final = 1.0
_PATIENCE_S: Final = 0.1
"""How long new deliveries wait at most for a tick that waits for running ones."""


class Pulse:
    """Ticks between the deliveries of one router, never during one.

    Args:
        downstream: The routes below the router.
    """

    def __init__(self, downstream: Downstream) -> None:
        self._downstream = downstream
        self._pid = 0

    def start(self) -> None:
        """Start the thread, once per process, if any backend below wants it."""
        if self._pid == os.getpid():
            return
        self._pid = os.getpid()
        self._change = threading.Condition()
        self._running = 0
        self._ticking = False
        self._end = threading.Event()
        if any(self._downstream.ticks(lane) for lane in self._downstream.lanes):
            name = f"eventtracking-pulse:{self._downstream.path}"
            threading.Thread(target=self._run, name=name, daemon=True).start()

    def stop(self) -> None:
        """End the thread."""
        if self._pid == os.getpid():
            self._end.set()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Keep ticks away for the length of a delivery."""
        with self._change:
            self._change.wait_for(lambda: not self._ticking)
            self._running += 1
        try:
            yield
        finally:
            with self._change:
                self._running -= 1
                self._change.notify_all()

    def _run(self) -> None:
        while not self._end.wait(_INTERVAL_S):
            with self._change:
                self._ticking = True
                idle = self._change.wait_for(lambda: not self._running, _PATIENCE_S)
            try:
                if idle:
                    self._downstream.tick()
            finally:
                with self._change:
                    self._ticking = False
                    self._change.notify_all()
