"""Makes the log records: what the standard library makes, in a third of the time."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from threading import current_thread, get_ident
from time import time
from types import FunctionType, MethodType
from typing import Any, Final

__all__ = ["RecordMaker"]

_PLAIN: Final = logging.LogRecord
_new = object.__new__


def _genuine(function: Callable[..., object]) -> Callable[..., object] | None:
    """Return a method of the standard library; None if somebody has put something else in its place
    already.
    """
    return (
        function
        if type(function) is FunctionType and function.__globals__ is vars(logging)
        else None
    )


_MAKE: Final = _genuine(logging.Logger.makeRecord)
_INIT: Final = _genuine(logging.LogRecord.__init__)


class RecordMaker:
    """Makes the records of one logger at one level.

    Most fields of a record are the same each time, among them those that cost most: the standard
    library takes the path of the caller apart for each one. The names of the process, the level and
    the logger are those of the last `renew`. Where the application has a record factory or a class
    of loggers of its own, has replaced what makes the records, or has switched off some of the
    fields, the standard library is asked.

    Args:
        level: The number of the level.
    """

    def __init__(self, logger: logging.Logger, level: int) -> None:
        self._logger = logger
        self._level = level
        self._genuine = None if _MAKE is None else MethodType(_MAKE, logger)
        self._common: dict[str, Any] = {}
        self._zero_ms = 0.0

    def renew(self) -> None:
        """Learn anew what is the same each time. For the first use in a process."""
        self._common = {}
        if _PLAIN.__init__ is not _INIT:
            return
        record = _PLAIN(self._logger.name, self._level, __file__, 0, "%s", ("",), None, "send")
        self._zero_ms = record.relativeCreated - record.created * 1_000.0
        self._common = dict(vars(record))

    def make(self, line: str) -> logging.LogRecord:
        """Make a record whose message is the line."""
        logger = self._logger
        if (
            logger.makeRecord != self._genuine
            or logging.getLogRecordFactory() is not _PLAIN
            or _PLAIN.__init__ is not _INIT
            or not (
                self._common
                and logging.logThreads
                and logging.logProcesses
                and logging.logMultiprocessing
            )
        ):
            return logger.makeRecord(
                logger.name, self._level, __file__, 0, "%s", (line,), None, "send"
            )
        record: logging.LogRecord = _new(_PLAIN)
        record.__dict__ = fields = self._common.copy()
        fields["args"] = (line,)
        fields["created"] = now = time()
        fields["msecs"] = now % 1.0 * 1_000.0 // 1.0  # whole ones, as the standard library has them
        fields["relativeCreated"] = now * 1_000.0 + self._zero_ms
        fields["thread"] = get_ident()
        fields["threadName"] = current_thread().name
        if "taskName" in fields:
            fields["taskName"] = _task_name()
        return record


def _task_name() -> str | None:
    """The name of the asyncio task that logs, as Python 3.12 and later note it."""
    asyncio = sys.modules.get("asyncio")
    if asyncio is None or not logging.logAsyncioTasks:  # type: ignore[attr-defined]  # of Python 3.12
        return None
    try:
        return str(asyncio.current_task().get_name())
    except Exception:  # noqa: BLE001 - there is none, or asyncio is being imported just now
        return None
