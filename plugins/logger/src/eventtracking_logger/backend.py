"""The backend that writes events to a standard-library logger."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Annotated, Final, Literal

import attrs
import msgspec

from eventtracking import DeliveryError, Event, Rejected, Undelivered
from eventtracking.errors import describe_error
from eventtracking_logger import _records
from eventtracking_logger._handlers import WatchedHandlers, is_off, noted, take_failure, takes
from eventtracking_logger._lines import ascii_line, visible_line
from eventtracking_logger._records import RecordMaker

__all__ = ["LoggerBackend"]

_log = logging.getLogger("eventtracking.logger")

Level = Literal["debug", "info", "warning", "error", "critical"]

_SOURCE: Final = _records.__file__


@attrs.define(eq=False)
class LoggerBackend:
    """Write each event as one line of JSON to a standard-library logger.

    The line is the whole message and starts with `{`. What happens to it is up to the logger's
    handlers. A logger whose level is off from the start wants no events: nothing is encoded, and
    they count as delivered. One that was switched off, or has no handler, fails them.
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
    ensure_ascii: bool = attrs.field(
        default=True,
        metadata={
            "help": (
                "Escape all but ASCII, as JSON does. False: only where a handler cannot write it,"
                " and what shows nothing."
            )
        },
    )
    _logger: logging.Logger = attrs.field(init=False, repr=False)
    _records: RecordMaker = attrs.field(init=False, repr=False)
    _handlers: WatchedHandlers = attrs.field(init=False, repr=False)
    _level: int = attrs.field(init=False, repr=False)
    _was_on: bool = attrs.field(init=False, repr=False, default=False)
    _told: bool = attrs.field(init=False, repr=False, default=False)
    _remark: Callable[[str], object] = attrs.field(init=False, repr=False, default=str)

    def __attrs_post_init__(self) -> None:
        self._logger = logging.getLogger(self.name)
        self._level = getattr(logging, self.level.upper())
        self._records = RecordMaker(self._logger, self._level)
        self._handlers = WatchedHandlers(self._logger, _SOURCE)

    def remark_to(self, remark: Callable[[str], object]) -> None:
        """Take what adds to the reasons in the route's counts."""
        self._remark = remark

    def open(self) -> None:
        """Say once if the level is off: that is right in a test, and a surprise elsewhere."""
        self._records.renew()
        self._was_on = self._told = False
        if not self._logger.isEnabledFor(self._level) and not is_off(self._logger, self._level):
            level = self.level.upper()
            self._warn(
                f"the logger {self.name!r} is off for {level}, so that no event is written; for"
                f" example: logging.basicConfig(level=logging.{level})"
            )

    def send(self, events: Sequence[Event]) -> None:
        """Log each event.

        Raises:
            Rejected: For the events that are longer than `max_event_bytes`.
            Undelivered: For those that a handler could not write, too.
            DeliveryError: If the logger was switched off, or has no handler.
        """
        if not self._logger.isEnabledFor(self._level):
            self._refuse_if_switched_off()
            for _ in events:
                self._remark(f"the logger {self.name!r} is off for {self.level.upper()}")
            return
        self._was_on = True
        handlers = self._handlers.current()
        if not handlers and (logging.lastResort is None or logging.lastResort.level > self._level):
            self._fail("it has no handler")
        too_long: dict[str, str] = {}
        unwritten: dict[str, str] = {}
        limit = self.max_event_bytes
        for event in events:
            line = event.to_json()
            if not line.isascii() or "\x7f" in line:
                line = self._escape(line, handlers)
            # A character has four bytes at most, so that hardly any line needs to be measured.
            if limit is not None and len(line) * 4 > limit < len(line.encode()):
                too_long[event.id] = f"longer than max_event_bytes={limit}"
                continue
            try:
                self._logger.handle(self._records.make(line))
            except Exception as error:  # noqa: BLE001 - a handler that raises has not written the record
                take_failure()
                unwritten[event.id] = describe_error(error)
            else:
                if noted and (failure := take_failure()) is not None:
                    unwritten[event.id] = failure
        if unwritten:
            reason = next(iter(unwritten.values()))
            self._warn_once(f"a handler of the logger {self.name!r} did not write: {reason}")
            raise Undelivered(retry=unwritten, rejected=too_long)
        if too_long:
            raise Rejected(too_long)

    def _escape(self, line: str, handlers: Sequence[logging.Handler]) -> str:
        """Escape the characters that not every reader of the line takes."""
        if not self.ensure_ascii:
            line = visible_line(line)
            if all(takes(handler, line) for handler in handlers):
                return line
        return ascii_line(line)

    def _refuse_if_switched_off(self) -> None:
        """Let a level that was off from the start be; all else loses events that were wanted."""
        reason = is_off(self._logger, self._level)
        if reason is None and self._was_on:
            reason = f"its level was {self.level.upper()} or lower, and is higher now"
        if reason is not None:
            self._fail(reason)

    def _fail(self, reason: str) -> None:
        text = f"the logger {self.name!r} writes no events: {reason}"
        self._warn_once(text)
        raise DeliveryError(text)

    def _warn_once(self, text: str) -> None:
        if not self._told:
            self._told = True
            self._warn(text)

    def _warn(self, text: str) -> None:
        """Warn in the log, or, where logging may be what is broken, on the standard error."""
        if _log.isEnabledFor(logging.WARNING) and _log.hasHandlers():
            _log.warning("%s", text)
        else:
            with suppress(Exception):  # none, closed or full: the counts still say it
                sys.stderr.write(f"eventtracking: {text}\n")
                sys.stderr.flush()
