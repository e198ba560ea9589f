"""The predecessor's name for the exception of wrong options."""

from eventtracking_legacy.exceptions import ImproperlyConfigured

__all__ = ["ImproperlyConfigured"]
