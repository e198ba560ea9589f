"""The predecessor's name for the synchronous router."""

from eventtracking_legacy.objects import RoutingBackend

__all__ = ["RoutingBackend"]
