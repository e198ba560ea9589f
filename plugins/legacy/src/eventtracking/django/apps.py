"""The predecessor's name for the Django app."""

from eventtracking_django.apps import EventTrackingConfig

__all__ = ["EventTrackingConfig"]
