"""The predecessor's name for the router that sends to the event bus."""

from eventtracking_legacy.objects import EventBusRoutingBackend

__all__ = ["EventBusRoutingBackend"]
