"""The predecessor's name for the asynchronous router."""

from eventtracking_legacy.objects import AsyncRoutingBackend

__all__ = ["AsyncRoutingBackend"]
