"""The predecessor's name for MongoDB."""

from eventtracking_legacy.objects import MongoBackend

__all__ = ["MongoBackend"]
