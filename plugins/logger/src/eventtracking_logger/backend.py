"""The backend that writes events to a standard-library logger."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Annotated, Literal

import attrs
import msgspec

from eventtracking import Event, Rejected
from eventtracking_logger._records import RecordMaker

__all__ = ["LoggerBackend"]

_log = logging.getLogger("eventtracking.logger")

Level = Literal["debug", "info", "warning", "error", "critical"]


@attrs.define(eq=False)
class LoggerBackend:
    """Write each event as one line of JSON to a standard-library logger.

    The line is the whole message and starts with `{`. What happens to it is up to the logger's
    handlers; with a level that is off, nothing is encoded, and the event counts as delivered.
    """

    name: str = attrs.field(default="eventtracking.events", metadata={"help": "The logger's name."})
    level: Level = attrs.field(default="info", metadata={"help": "The level to log at."})
    max_event_bytes: Annotated[int, msgspec.Meta(ge=1)] | None = attrs.field(
        default=None,
        metadata={
            "help": (
                "The longest line in bytes of UTF-8; a longer event is rejected. None: no limit."
            )
        },
    )
    _logger: logging.Logger = attrs.field(init=False, repr=False)
    _records: RecordMaker = attrs.field(init=False, repr=False)
    _level: int = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._logger = logging.getLogger(self.name)
        self._level = getattr(logging, self.level.upper())
        self._records = RecordMaker(self._logger, self._level)

    def open(self) -> None:
        """Say once, in the log of diagnostics, if the level is off: that is right in a test, and a
        surprise elsewhere.
        """
        self._records.renew()
        if not self._logger.isEnabledFor(self._level):
            _log.warning(
                "the logger %r is off for %s, so that no event is written; for example:"
                " logging.basicConfig(level=logging.%s)",
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
        limit, too_long = self.max_event_bytes, {}
        for event in events:
            line = event.to_json()
            # A character has four bytes at most, so that hardly any line needs to be measured.
            if limit is not None and len(line) * 4 > limit < len(line.encode()):
                too_long[event.id] = f"longer than max_event_bytes={self.max_event_bytes}"
            else:
                self._logger.handle(self._records.make(line))
        if too_long:
            raise Rejected(too_long)
