"""The worker of event-tracking 4.0.2, in the environment of its own: the same trees, built as its
documentation says.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable
from typing import Any

from _events import CONTEXT, LARGE, NAME, PATTERNS, SMALL, UNMATCHED
from _worker import serve


def class_of(path: str) -> Any:
    """Import by path: its packages have the names of ours, and are not there when types are
    checked.
    """
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


Tracker = class_of("eventtracking.tracker.Tracker")
Routing = class_of("eventtracking.backends.routing.RoutingBackend")
Logger = class_of("eventtracking.backends.logger.LoggerBackend")
RegexFilter = class_of("eventtracking.processors.regex_filter.RegexFilter")
NameAllowlist = class_of("eventtracking.processors.whitelist.NameWhitelistProcessor")


class NullBackend:
    """Forget everything."""

    def send(self, event: dict[str, Any]) -> None:
        """Forget the event."""


def add_type(event: dict[str, Any]) -> dict[str, Any]:
    """Add a top-level key, as the shims of Open edX do."""
    event["event_type"] = event["name"]
    return event


def add_to_context(event: dict[str, Any]) -> dict[str, Any]:
    """Add to the context."""
    event["context"]["module"] = "bench"
    return event


def emitting(backends: dict[str, Any], data: dict[str, Any] | None = None) -> Callable[[], object]:
    """Build a tracker, enter a context, and return what emits one event."""
    logger = logging.getLogger("bench")
    logger.addHandler(logging.NullHandler())
    logger.setLevel(logging.INFO)
    logger.propagate = False
    tracker = Tracker(backends)
    tracker.enter_context("request", CONTEXT)
    emit, data = tracker.emit, SMALL if data is None else data
    return lambda: emit(NAME, data)


def three_routers(patterns: list[str]) -> dict[str, Any]:
    def router() -> Any:
        allow = RegexFilter(filter_type="allowlist", regular_expressions=patterns)
        return Routing(backends={"end": NullBackend()}, processors=[allow])

    return {f"router_{number}": router() for number in range(3)}


def open_edx() -> dict[str, Any]:
    logger = Logger(name="bench", max_event_size=50_000)
    nobody = [NameAllowlist(whitelist=[]), add_to_context]
    return {
        "tracking_logs": Routing(
            backends={"logger": logger}, processors=[add_type, add_to_context]
        ),
        "segmentio": Routing(backends={"segment": NullBackend()}, processors=nobody),
    }


if __name__ == "__main__":
    serve(
        {
            "null": lambda: emitting({"end": NullBackend()}),
            "json": lambda: emitting({"end": Logger(name="bench", max_event_size=50_000)}),
            "open_edx": lambda: emitting(open_edx()),
            "three_routers": lambda: emitting(three_routers(PATTERNS)),
            "filtered": lambda: emitting(three_routers(UNMATCHED)),
            "large": lambda: emitting({"end": NullBackend()}, LARGE),
        }
    )
