"""The predecessor's name for the logger."""

from eventtracking_legacy.objects import LoggerBackend

__all__ = ["LoggerBackend"]
