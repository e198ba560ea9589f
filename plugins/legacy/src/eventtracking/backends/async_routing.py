"""The predecessor's names for the asynchronous router."""

from eventtracking_legacy.objects import AsyncRoutingBackend, RoutingBackend

__all__ = ["AsyncRoutingBackend", "RoutingBackend"]
