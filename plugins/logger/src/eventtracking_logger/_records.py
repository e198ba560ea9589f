"""Makes the log records: what the standard library makes, in a third of the time."""

from __future__ import annotations

import logging
import sys
from threading import current_thread, get_ident
from time import time
from typing import Any, Final

__all__ = ["RecordMaker"]

_PLAIN: Final = logging.LogRecord
_new = object.__new__


class RecordMaker:
    """Makes the records of one logger at one level.

    Most fields of a record are the same each time, among them those that cost most: the standard library takes the path of
    the caller apart for each one. Where the application has a record factory or a class of loggers of its own, or has switched
    off some of the fields, the standard library is asked.

    Args:
        level: The number of the level.
    """

    def __init__(self, logger: logging.Logger, level: int) -> None:
        self._logger = logger
        self._level = level
        self._own_class = type(logger).makeRecord is not logging.Logger.makeRecord
        self._common: dict[str, Any] = {}
        self._zero_ms = 0.0

    def renew(self) -> None:
        """Learn anew what is the same each time, the process and its name among it. For the first use in a process."""
        record = self._make_slowly("")
        self._common = {} if None in (record.thread, record.process, record.processName) else dict(vars(record))
        self._zero_ms = record.relativeCreated - record.created * 1_000.0

    def make(self, line: str) -> logging.LogRecord:
        """Make a record whose message is the line."""
        if not self._common or self._own_class or logging.getLogRecordFactory() is not _PLAIN:
            return self._make_slowly(line)
        record: logging.LogRecord = _new(_PLAIN)
        record.__dict__ = fields = self._common.copy()
        now = time()
        now_ms = now * 1_000.0
        fields["args"] = (line,)
        fields["created"] = now
        fields["msecs"] = now_ms % 1_000.0 // 1.0  # whole ones, as the standard library has them
        fields["relativeCreated"] = now_ms + self._zero_ms
        fields["thread"] = get_ident()
        fields["threadName"] = current_thread().name
        if "taskName" in fields:
            fields["taskName"] = _task_name()
        return record

    def _make_slowly(self, line: str) -> logging.LogRecord:
        logger = self._logger
        return logger.makeRecord(logger.name, self._level, __file__, 0, "%s", (line,), None, "send")


def _task_name() -> str | None:
    """The name of the asyncio task that logs, as Python 3.12 and later note it."""
    asyncio = sys.modules.get("asyncio")
    if asyncio is None or not getattr(logging, "logAsyncioTasks", False):
        return None
    try:
        task = asyncio.current_task()
    except RuntimeError:  # no loop runs on this thread
        return None
    return None if task is None else str(task.get_name())
