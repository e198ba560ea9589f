"""The predecessor's name for its Celery task."""

from eventtracking_legacy.task import send_event

__all__ = ["send_event"]
