"""The backend that writes events to a standard-library logger."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Annotated, Literal

import attrs
import msgspec

from eventtracking import Event, Rejected

__all__ = ["LoggerBackend"]

_log = logging.getLogger("eventtracking.logger")

Level = Literal["debug", "info", "warning", "error", "critical"]


@attrs.define(eq=False)
class LoggerBackend:
    """Write each event as one line of JSON to a standard-library logger.

    The line is the whole message and starts with `{`. What happens to it is up to the logger's handlers; with a level that is off, nothing
    is encoded, and the event counts as delivered.
    """

    name: str = attrs.field(default="eventtracking.events", metadata={"help": "The logger's name."})
    level: Level = attrs.field(default="info", metadata={"help": "The level to log at."})
    max_event_bytes: Annotated[int, msgspec.Meta(ge=1)] | None = attrs.field(
        default=None,
        metadata={"help": "The longest line in bytes of UTF-8; a longer event is rejected. None: no limit."},
    )
    _logger: logging.Logger = attrs.field(init=False, repr=False)
    _level: int = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._logger = logging.getLogger(self.name)
        self._level = getattr(logging, self.level.upper())

    def open(self) -> None:
        """Say once, in the log of diagnostics, if the level is off: that is right in a test, and a surprise elsewhere."""
        if not self._logger.isEnabledFor(self._level):
            _log.warning(
                "the logger %r is off for %s, so that no event is written; for example: logging.basicConfig(level=logging.%s)",
                self.name,
                self.level.upper(),
                self.level.upper(),
            )

    def send(self, events: Sequence[Event]) -> None:
        """Log each event.

        Raises:
            Rejected: For the events that are longer than `max_event_bytes`.
        """
        if not self._logger.isEnabledFor(self._level):
            return
        too_long = {}
        for event in events:
            line = event.to_json()
            if self.max_event_bytes is not None and self._is_too_long(line):
                too_long[event.id] = f"longer than max_event_bytes={self.max_event_bytes}"
            else:
                self._log(line)
        if too_long:
            raise Rejected(too_long)

    def _log(self, line: str) -> None:
        """Do what `Logger.log` does, without its walk up the stack, which would always find this place (a third of the time)."""
        logger = self._logger
        logger.handle(logger.makeRecord(logger.name, self._level, __file__, 0, "%s", (line,), None, "send"))

    def _is_too_long(self, line: str) -> bool:
        limit = self.max_event_bytes or 0
        return len(line) > limit or (len(line) * 4 > limit and len(line.encode()) > limit)
