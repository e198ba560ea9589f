"""The predecessor's names for the router that sends to the event bus.

The signal and its data are those of openedx-events, imported when they are asked for: the extra
`event_bus` brings it.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final

from eventtracking_legacy.encoder import DateTimeJSONEncoder
from eventtracking_legacy.objects import EventBusRoutingBackend, RoutingBackend
from eventtracking_legacy.toggles import SEND_TRACKING_EVENT_EMITTED_SIGNAL

__all__ = [
    "SEND_TRACKING_EVENT_EMITTED_SIGNAL",
    "DateTimeJSONEncoder",
    "EventBusRoutingBackend",
    "RoutingBackend",
]

_SOURCES: Final = {
    "TRACKING_EVENT_EMITTED": "openedx_events.analytics.signals",
    "TrackingLogData": "openedx_events.analytics.data",
}


def __getattr__(name: str) -> Any:
    if name not in _SOURCES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(_SOURCES[name]), name)
    except ImportError as error:
        raise ImportError(
            f"{name}: openedx-events is not installed;"
            " pip install 'eventtracking-legacy[event_bus]'"
        ) from error
