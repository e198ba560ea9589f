"""A steady load: a thread that emits numbered events until it is told to stop."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import attrs

from eventtracking import Tracker

__all__ = ["Load"]


@attrs.define(eq=False)
class Load:
    """Emits through one tracker while the block lasts.

    Args:
        tracker: Which one.
        events_per_s: How many; fewer on a busy machine.
    """

    tracker: Tracker
    events_per_s: float
    count: int = 0
    _stopped: threading.Event = attrs.field(factory=threading.Event)

    def _run(self) -> None:
        while not self._stopped.wait(1 / self.events_per_s):
            self.tracker.emit("trial.load", {"n": self.count})
            self.count += 1

    @contextmanager
    def running(self) -> Iterator[Load]:
        """Emit until the end of the block."""
        thread = threading.Thread(target=self._run)
        thread.start()
        try:
            yield self
        finally:
            self._stopped.set()
            thread.join()
