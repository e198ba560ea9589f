"""The predecessor's name for Segment."""

from eventtracking_legacy.objects import SegmentBackend

__all__ = ["SegmentBackend"]
