"""Finds out whether a record was written: the standard library's handlers swallow their errors.

A handler that cannot write calls its own `handleError`, which prints to the standard error and
returns. `watch` puts a function before that method, on the handler itself, that takes a note first.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from threading import get_ident
from typing import Final

from eventtracking.errors import describe_error

__all__ = ["WatchedHandlers", "is_off", "noted", "take_failure", "takes"]

noted: Final[dict[int, str]] = {}
"""The error of the handler that failed last, by thread. Nearly always empty."""


class WatchedHandlers:
    """The handlers that a logger's records reach, each watched for errors that it swallows.

    Walking the loggers costs a tenth of an emit. So the walk is remembered with all it has seen,
    and repeated after a handler came or went, or propagation changed.

    Args:
        source: The path of the module whose records count.
    """

    def __init__(self, logger: logging.Logger, source: str) -> None:
        self._logger = logger
        self._source = source
        self._seen: tuple[_Walk, tuple[logging.Handler, ...]] = ([(logger, None, None)], ())

    def current(self) -> tuple[logging.Handler, ...]:
        """Return the handlers of this moment."""
        walk, found = self._seen  # one read: another thread may walk at the same time
        for logger, handlers, parent in walk:
            if (
                logger.handlers != handlers
                or (logger.parent if logger.propagate else None) is not parent
            ):
                return self._walk()
        return found

    def _walk(self) -> tuple[logging.Handler, ...]:
        walk: _Walk = []
        logger: logging.Logger | None = self._logger
        while logger is not None:
            parent = logger.parent if logger.propagate else None
            walk.append((logger, logger.handlers.copy(), parent))
            logger = parent
        found = tuple(handler for _, handlers, _ in walk for handler in handlers or ())
        for handler in found:
            if type(handler.__dict__.get("handleError")) is not _Watch:
                handler.handleError = _Watch(handler.handleError, self._source)  # type: ignore[method-assign]  # on this one alone
        self._seen = (walk, found)
        return found


_Walk = list[tuple[logging.Logger, "list[logging.Handler] | None", "logging.Logger | None"]]
"""Each logger on the way up: its handlers, and the logger to which it propagates."""


class _Watch:
    """Takes a note of an error, and leaves the rest to the handler."""

    def __init__(self, genuine: Callable[[logging.LogRecord], object], source: str) -> None:
        self._genuine = genuine
        self._source = source

    def __call__(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if record.pathname == self._source:
            noted[get_ident()] = "unknown error" if error is None else describe_error(error)
        self._genuine(record)


def take_failure() -> str | None:
    """Return, once, why a handler of this thread failed."""
    return noted.pop(get_ident(), None)


def takes(handler: logging.Handler, line: str) -> bool:
    """Whether the encoding of the handler's file has all characters of the line."""
    stream = getattr(handler, "stream", None)
    encoding = getattr(stream, "encoding", None) or getattr(handler, "encoding", None)
    if not isinstance(encoding, str):
        return True
    try:
        line.encode(encoding, getattr(stream, "errors", None) or "strict")
    except (UnicodeError, LookupError):
        return False
    return True


def is_off(logger: logging.Logger, level: int) -> str | None:
    """Say how the logger was switched off, apart from its level."""
    if logger.disabled:
        return (
            "it is disabled (logging.config does that to each logger that it does not name, unless"
            " disable_existing_loggers is False)"
        )
    if logger.manager.disable >= level:
        return "logging.disable() is in force"
    return None
