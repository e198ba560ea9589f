"""Finds out whether a record was written: the standard library's handlers swallow their errors.

A handler that cannot write calls its own `handleError`, which prints to the standard error and
returns. `watch` puts a function before that method, on the handler itself, that takes a note first.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from threading import get_ident
from typing import Final

from eventtracking.errors import describe_error

__all__ = ["handlers_of", "is_off", "take_failure", "takes", "watch"]

_noted: Final[dict[int, str]] = {}
"""The error of the handler that failed last, by thread. Nearly always empty."""


def handlers_of(logger: logging.Logger) -> Iterator[logging.Handler]:
    """List the handlers that a record of this logger comes to."""
    current: logging.Logger | None = logger
    while current is not None:
        yield from current.handlers
        current = current.parent if current.propagate else None


def watch(handler: logging.Handler, source: str) -> None:
    """Note from now on when the handler fails to write a record.

    Args:
        handler: Watched once, however often this is called.
        source: The path of the module whose records count.
    """
    if not isinstance(handler.__dict__.get("handleError"), _Watch):
        handler.handleError = _Watch(handler.handleError, source)  # type: ignore[method-assign]  # on this one alone


class _Watch:
    """Takes a note of an error, and leaves the rest to the handler."""

    def __init__(self, genuine: Callable[[logging.LogRecord], object], source: str) -> None:
        self._genuine = genuine
        self._source = source

    def __call__(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if record.pathname == self._source:
            _noted[get_ident()] = "unknown error" if error is None else describe_error(error)
        self._genuine(record)


def take_failure() -> str | None:
    """Return, once, why a handler of this thread failed."""
    return _noted.pop(get_ident(), None) if _noted else None


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
