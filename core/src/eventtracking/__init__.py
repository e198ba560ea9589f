"""Event tracking: capture what happens, add the context it happened in, and route it to any number
of backends.
"""

import sys
from pkgutil import extend_path

if not getattr(sys, "_is_gil_enabled", lambda: True)():  # before any counts can be wrong
    raise ImportError(
        "eventtracking: this Python is free-threaded, and runs without the global interpreter lock"
        " on which the counts rely; use the regular build of Python, or set PYTHON_GIL=1"
    )
from typing import Any

# Other distributions may add modules to this package: that of the predecessor's module names does.
__path__ = extend_path(__path__, __name__)

from eventtracking import tracker
from eventtracking._former import find_former
from eventtracking.counts import Counts, Outcome
from eventtracking.errors import (
    ConfigError,
    DataError,
    DeliveryError,
    DropEvent,
    EventTrackingError,
    OptionsError,
    PluginError,
    Problem,
    Rejected,
    Undelivered,
)
from eventtracking.event import Event
from eventtracking.hookspecs import hookimpl
from eventtracking.tracker import EventLossWarning, Tracker, configure

__all__ = [
    "ConfigError",
    "Counts",
    "DataError",
    "DeliveryError",
    "DropEvent",
    "Event",
    "EventLossWarning",
    "EventTrackingError",
    "OptionsError",
    "Outcome",
    "PluginError",
    "Problem",
    "Rejected",
    "Tracker",
    "Undelivered",
    "configure",
    "hookimpl",
    "tracker",
]


def __getattr__(name: str) -> Any:
    """Find a name of event-tracking, if eventtracking-legacy is installed."""
    return find_former(__name__, name)
