"""Tells the log about dropped events, on a thread of its own and at a bounded rate."""

from __future__ import annotations

import logging
import threading
from typing import Final

from eventtracking_buffer._clock import monotonic

__all__ = ["Alarm"]

_log = logging.getLogger("eventtracking.buffer")
_FIRST_DELAY_S: Final = 0.05
_EVERY_S: Final = 10.0
_ENDS_AFTER_S: Final = 60.0


class Alarm:
    """Collects what happened, from any thread, without waiting; the log hears of it every ten
    seconds at most.

    Args:
        path: The route that speaks.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._new: dict[str, int] = {}
        self._starter = threading.Lock()
        self._end = threading.Event()

    def note(self, text: str, count: int = 1) -> None:
        """Have the log told that something happened to so many events; zero where nobody knows to
        how many.
        """
        self._new[text] = self._new.get(text, 0) + count
        if self._starter.acquire(blocking=False):
            try:
                threading.Thread(
                    target=self._run, name=f"eventtracking-buffer-alarm:{self._path}", daemon=True
                ).start()
            except (
                RuntimeError
            ):  # the interpreter ends; `tell` is called once more when the buffer closes
                self._starter.release()

    def _run(self) -> None:
        pause_s, quiet_since = _FIRST_DELAY_S, monotonic()
        while not self._end.wait(pause_s):
            pause_s = _EVERY_S
            if self.tell():
                quiet_since = monotonic()
            elif monotonic() - quiet_since > _ENDS_AFTER_S:
                break
        self._starter.release()

    def tell(self) -> bool:
        """Tell what has been collected. Return whether there was anything."""
        told, self._new = self._new, {}
        for text, count in told.items():
            events = "1 event" if count == 1 else f"{count or ''} events".lstrip()
            _log.warning("buffer %r: %s %s", self._path, events, text)
        return bool(told)

    def close(self) -> None:
        """Tell the rest and end."""
        self._end.set()
        self.tell()
