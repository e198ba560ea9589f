# mypy: ignore-errors
# Written as a site writes it, without types; it runs in the environment of the predecessor, too.
"""A site's classes that build on the predecessor's, and read their attributes; both libraries run
them as they are.
"""

import json

from eventtracking.backends.logger import LoggerBackend
from eventtracking.backends.routing import RoutingBackend
from eventtracking.processors.regex_filter import RegexFilter
from eventtracking.processors.whitelist import NameWhitelistProcessor


class Names(NameWhitelistProcessor):
    """Tell each event which names pass."""

    def __call__(self, event):
        return {**super().__call__(event), "known": sorted(self.whitelist)}


class Patterns(RegexFilter):
    """Tell each event the kind of filter that it passed."""

    def __call__(self, event):
        return {
            **super().__call__(event),
            "kind": self.filter_type,
            "patterns": len(self.compiled_expressions),
        }


class ShortLog(LoggerBackend):
    """Log a form of its own, within the size, and then the event."""

    def send(self, event):
        line = json.dumps({"short": event["name"], "data": event["data"]})
        if len(line) <= self.max_event_size:
            self.event_logger.info(line)
        super().send(event)


class Router(RoutingBackend):
    """Mark each event, and send it on."""

    def send(self, event):
        super().send({**event, "via": "own router"})


def look_at(tracker):
    """Return the attributes that a site reads in the tree of its tracker."""
    router = tracker.backends["named"]
    return {
        "names": [
            p.whitelist
            for p in router.processors
            if hasattr(p, "whitelist") and "no.data" in p.whitelist
        ]
        != [],
        "routers": sorted(
            name for name, found in tracker.backends.items() if isinstance(found, RoutingBackend)
        ),
        "loggers": [
            name for name, found in router.backends.items() if isinstance(found, LoggerBackend)
        ],
        "size": router.backends["log"].max_event_size,
        "filters": [found.filter_type for found in tracker.backends["own"].processors],
        "processed": router.process_event({"name": "no.data"}),
    }
