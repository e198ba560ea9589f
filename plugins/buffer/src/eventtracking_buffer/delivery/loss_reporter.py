"""Tells the log about dropped events, on a thread of its own and at a bounded rate."""

from __future__ import annotations

import logging
import threading
from typing import Final

from eventtracking_buffer.delivery.clock import monotonic
from eventtracking_buffer.delivery.threads import Starter

__all__ = ["LossReporter"]

_log = logging.getLogger("eventtracking.buffer")
_FIRST_DELAY_S: Final = 0.05
_EVERY_S: Final = 10.0
_ENDS_AFTER_S: Final = 60.0
NO_THREAD: Final = "wait: no new thread can be started now; it is tried again"


class LossReporter:
    """Collects reports from any thread, without waiting; the log gets them every ten seconds.

    Args:
        path: The route that speaks.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._new: dict[str, int] = {}
        self._end = threading.Event()
        self._thread = self._make_thread()

    def _make_thread(self) -> Starter:
        return Starter(self._run, f"eventtracking-buffer-losses:{self._path}")

    def note(self, text: str, count: int = 1) -> None:
        """Have the log told that something happened to so many events; 0: to an unknown number."""
        self._new[text] = self._new.get(text, 0) + count
        if not self._thread.start() and self._end.is_set():
            self.tell()

    def no_thread(self) -> None:
        """Say at once that no thread can be started: none could say it later."""
        if NO_THREAD not in self._new:
            self._new[NO_THREAD] = 0
            _log.warning("buffer %r: events %s", self._path, NO_THREAD)

    def _run(self) -> None:
        pause_s, quiet_since = _FIRST_DELAY_S, monotonic()
        while not self._end.wait(pause_s):
            pause_s = _EVERY_S
            if self.tell():
                quiet_since = monotonic()
            elif monotonic() - quiet_since > _ENDS_AFTER_S:
                break
        self._thread = self._make_thread()

    def tell(self) -> bool:
        """Tell what has been collected; return whether there was anything."""
        told, self._new = self._new, {}
        told.pop(NO_THREAD, None)
        for text, count in told.items():
            events = "1 event" if count == 1 else f"{count or ''} events".lstrip()
            _log.warning("buffer %r: %s %s", self._path, events, text)
        return bool(told)

    def close(self) -> None:
        """Tell the rest and end."""
        self._end.set()
        self.tell()
