"""The trackers by name, and functions that work on the default one.

`from eventtracking import tracker` gives this module::

    tracker.emit("edx.course.enrollment.activated", {"course_id": "demo"})
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final, overload

from eventtracking._data.declared import Declared
from eventtracking._former import find_former
from eventtracking._pipeline import process
from eventtracking._pipeline.context import EnteredContext
from eventtracking._pipeline.tracker import EventLossWarning, Tracker

__all__ = [
    "DEFAULT_NAME",
    "EventLossWarning",
    "Tracker",
    "configure",
    "context",
    "emit",
    "enter_context",
    "exit_context",
    "get_tracker",
    "live_trackers",
    "register_tracker",
    "registered_trackers",
    "resolve_context",
]

DEFAULT_NAME: Final = "default"

_trackers: dict[str, Tracker] = {DEFAULT_NAME: Tracker()}


def get_tracker(name: str = DEFAULT_NAME) -> Tracker:
    """Return a tracker by name.

    The default one always exists, and `configure` keeps it the same object.

    Raises:
        KeyError: If no tracker of that name was registered.
    """
    if name not in _trackers:
        raise KeyError(f"no tracker named {name!r} is registered; there are {', '.join(_trackers)}")
    return _trackers[name]


def register_tracker(tracker: Tracker, name: str = DEFAULT_NAME) -> None:
    """Register a tracker under a name, in the place of the one that had it (which is not
    closed).
    """
    _trackers[name] = tracker


def live_trackers() -> list[Tracker]:
    """Return every tracker that is in use somewhere in this process, registered or not."""
    return [tracker for tracker in process.living() if isinstance(tracker, Tracker)]


def registered_trackers() -> dict[str, Tracker]:
    """Return the registered trackers by name."""
    return dict(_trackers)


def configure(config_or_path: Mapping[str, Any] | str | os.PathLike[str]) -> Tracker:
    """Configure the default tracker, from a mapping, or a TOML or JSON file.

    Raises:
        ConfigError: With every problem of the config; the tracker stays as it is.
    """
    from eventtracking import config  # only a process with a config needs it

    mapping = (
        config_or_path if isinstance(config_or_path, Mapping) else config.load_file(config_or_path)
    )
    tracker = get_tracker()
    tracker.configure(mapping)
    return tracker


@overload
def emit(name: str, data: Any = None) -> None: ...


@overload
def emit(name: Declared) -> None: ...


def emit(name: Any, data: Any = None) -> None:
    """Emit through the default tracker; see `Tracker.emit`."""
    get_tracker().emit(name, data)


def context(
    name_or_context: str | Mapping[str, Any], context: Mapping[str, Any] | None = None
) -> EnteredContext:
    """Enter a context of the default tracker; see `Tracker.context`."""
    return get_tracker().context(name_or_context, context)


def enter_context(name: str, context: Mapping[str, Any]) -> None:
    """Enter a context of the default tracker; see `Tracker.enter_context`."""
    get_tracker().enter_context(name, context)


def exit_context(name: str) -> None:
    """Leave a context of the default tracker; see `Tracker.exit_context`."""
    get_tracker().exit_context(name)


def resolve_context() -> dict[str, Any]:
    """Return the current context of the default tracker; see `Tracker.resolve_context`."""
    return get_tracker().resolve_context()


def __getattr__(name: str) -> Any:
    """Find a name of event-tracking, if eventtracking-legacy is installed."""
    return find_former(__name__, name)
