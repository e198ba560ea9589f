"""What is wrong with a router's options, where a type cannot say it.

No text quotes a URL, which may hold a password.
"""

from __future__ import annotations

import importlib.util
from typing import Final

from eventtracking_async_celery.batch_queue import DEAD_SUFFIX
from eventtracking_async_celery.brokers.choice import kind_of

__all__ = ["queue_problem", "url_problem"]

_MAX_QUEUE_BYTES: Final = 255
"""What AMQP allows for a name."""
_REDIS_SCHEMES: Final = frozenset({"redis", "rediss", "redis+socket", "sentinel"})
"""kombu raises something else than an ImportError for these, where redis-py is missing."""
_EXPECTED_URL: Final = (
    "expected the URL of a broker, such as redis://host:6379/0 or amqp://host:5672//"
)


def url_problem(broker_url: str) -> str:
    """Say why a broker cannot be used; empty if it may be there. Nothing is connected."""
    if not broker_url.strip():
        return f"it is empty; {_EXPECTED_URL}, or leave it out to use the application's Celery app"
    if broker_url.partition(":")[0] in _REDIS_SCHEMES and importlib.util.find_spec("redis") is None:
        return "the driver is missing; pip install 'eventtracking-async-celery[redis]'"
    try:
        return kind_of(broker_url).problem(broker_url)
    except ImportError as error:
        return f"{error}; install what kombu needs for this transport"
    except Exception:  # noqa: BLE001 - whatever kombu raises quotes the URL
        return _EXPECTED_URL


def queue_problem(queue: str) -> str:
    """Say why a queue cannot have this name, with its queue of dead letters; empty if it can."""
    longest = _MAX_QUEUE_BYTES - len(DEAD_SUFFIX)
    try:
        size = len(queue.encode())
    except UnicodeEncodeError:
        return "expected text without lone surrogates"
    if size > longest:
        return (
            f"found {size} bytes of UTF-8; expected at most {longest}, because {DEAD_SUFFIX!r} is"
            " added for dead letters"
        )
    return ""
