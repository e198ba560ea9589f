"""Event tracking: capture what happens, add the context it happened in, and route it to any number
of backends.
"""

import sys
from importlib import import_module
from pkgutil import extend_path
from typing import TYPE_CHECKING, Any

if not getattr(sys, "_is_gil_enabled", lambda: True)():  # before any counts can be wrong
    raise ImportError(
        "eventtracking: this Python is free-threaded, and runs without the global interpreter lock"
        " on which the counts rely; use the regular build of Python, or set PYTHON_GIL=1"
    )

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
from eventtracking.tracker import EventLossWarning, Tracker, configure

if TYPE_CHECKING:
    from eventtracking import config, hookspecs
    from eventtracking.hookspecs import hookimpl

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
    "config",
    "configure",
    "hookimpl",
    "hookspecs",
    "tracker",
]


def __getattr__(name: str) -> Any:
    """Import the parts that a process without a config does not need.

    Also find a name of event-tracking, if eventtracking-legacy is installed.
    """
    if name in ("config", "hookspecs"):
        return import_module(f"{__name__}.{name}")
    if name == "hookimpl":
        return import_module(f"{__name__}.hookspecs").hookimpl
    return find_former(__name__, name)
