"""Capture the events of an application in context, and route each to any number of backends."""

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if not getattr(sys, "_is_gil_enabled", lambda: True)():  # before any counts can be wrong
    raise ImportError(
        "eventtracking: this Python is free-threaded, and runs without the global interpreter lock"
        " on which the counts rely; use the regular build of Python, or set PYTHON_GIL=1"
    )

# Other distributions may add modules to this package: that of the predecessor's module names does.
# `pkgutil` is slow to import, so it is asked only where the import path has more than folders.
_entries = [entry or os.getcwd() for entry in map(str, sys.path)]  # noqa: PTH109 - a path object for each entry costs more
if any(os.path.isfile(entry) or "__path_hook__" in entry for entry in _entries):  # noqa: PTH113 - as above
    from pkgutil import extend_path

    __path__ = extend_path(__path__, __name__)
else:
    _folders = [os.path.join(entry, __name__) for entry in _entries]  # noqa: PTH118 - as above
    __path__ += [one for one in _folders if one not in __path__ and os.path.isdir(one)]  # noqa: PTH112 - as above

if TYPE_CHECKING:
    from eventtracking import config, hookspecs, tracker
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
    "config",
    "configure",
    "hookimpl",
    "hookspecs",
    "tracker",
]


_HOMES = {
    "Counts": "counts",
    "Event": "event",
    "EventLossWarning": "tracker",
    "Outcome": "counts",
    "Tracker": "tracker",
    "configure": "tracker",
    "hookimpl": "hookspecs",
}
"""The modules of the public names; that of all others is `errors`."""


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used.

    A plugin that needs `Event` alone does not import the tracker, nor a process without a config
    its reader. Also find a name of event-tracking, if eventtracking-legacy is installed.
    """
    if name in ("config", "hookspecs", "tracker"):
        return import_module(f"{__name__}.{name}")
    if name in __all__:
        found = getattr(import_module(f"{__name__}.{_HOMES.get(name, 'errors')}"), name)
        globals()[name] = found
        return found
    return import_module(f"{__name__}._former").find_former(__name__, name)
