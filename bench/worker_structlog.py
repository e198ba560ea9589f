"""The worker of structlog with orjson, set up as its guide to performance says, writing
to nowhere.
"""

from __future__ import annotations

import importlib
import io
import logging
from collections.abc import Callable
from typing import Any

from _events import CONTEXT, LARGE, NAME, SMALL
from _worker import serve

structlog: Any = importlib.import_module("structlog")  # by name: it is in an environment of its own
orjson: Any = importlib.import_module("orjson")


class Nowhere(io.RawIOBase):
    """A file that forgets what is written."""

    def write(self, data: Any) -> int:
        return len(data)


def drop(_logger: Any, _method: str, _event: dict[str, Any]) -> dict[str, Any]:
    """Filter everything out."""
    raise structlog.DropEvent


def logging_(data: dict[str, Any], *filters: Any) -> Callable[[], object]:
    """Bind the context, and return what logs one event."""
    structlog.configure(
        cache_logger_on_first_use=True,
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        processors=[
            structlog.contextvars.merge_contextvars,
            *filters,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(serializer=orjson.dumps),
        ],
        logger_factory=structlog.BytesLoggerFactory(file=Nowhere()),
    )
    structlog.contextvars.bind_contextvars(**CONTEXT)
    logger = structlog.get_logger()
    return lambda: logger.info(NAME, data=data)


if __name__ == "__main__":
    serve(
        {
            "null": lambda: logging_(SMALL),
            "json": lambda: logging_(SMALL),
            "filtered": lambda: logging_(SMALL, drop),
            "large": lambda: logging_(LARGE),
        }
    )
