"""The predecessor's names for the logger."""

from eventtracking_legacy.encoder import MAX_EVENT_SIZE, DateTimeJSONEncoder
from eventtracking_legacy.objects import LoggerBackend

__all__ = ["MAX_EVENT_SIZE", "DateTimeJSONEncoder", "LoggerBackend"]
