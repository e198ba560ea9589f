"""The constants of event-tracking's modules that core owns: `eventtracking.tracker.TRACKERS` and
others.

Core asks here for a name that it does not have.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from typing import Any, Final

__all__ = ["find"]


def _trackers() -> Any:
    from eventtracking import tracker

    return tracker._trackers


def _signal_toggle() -> Any:
    from eventtracking_legacy.toggles import SEND_TRACKING_EVENT_EMITTED_SIGNAL

    return SEND_TRACKING_EVENT_EMITTED_SIGNAL


_NAMES: Final[dict[tuple[str, str], Callable[[], Any]]] = {
    ("eventtracking", "__version__"): lambda: version("eventtracking"),
    ("eventtracking.tracker", "TRACKERS"): _trackers,
    ("eventtracking.tracker", "DEFAULT_TRACKER_NAME"): lambda: "default",
    ("eventtracking.tracker", "UNKNOWN_EVENT_TYPE"): lambda: "unknown",
    ("eventtracking.config", "SEND_TRACKING_EVENT_EMITTED_SIGNAL"): _signal_toggle,
}


def find(module: str, name: str) -> Any:
    """Return a constant of one of core's modules.

    Raises:
        LookupError: If event-tracking had none of that name there.
    """
    return _NAMES[module, name]()
