"""The predecessor's names for the synchronous router."""

from eventtracking_legacy.exceptions import (
    EventEmissionExit,
    NoBackendEnabled,
    NoTransformerImplemented,
)
from eventtracking_legacy.objects import RoutingBackend

__all__ = ["EventEmissionExit", "NoBackendEnabled", "NoTransformerImplemented", "RoutingBackend"]
