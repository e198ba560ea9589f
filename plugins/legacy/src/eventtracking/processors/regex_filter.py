"""The predecessor's name for the filter by patterns."""

from eventtracking_legacy.objects import RegexFilter

__all__ = ["RegexFilter"]
