"""The predecessor's name for the tracker of a Django site."""

from eventtracking_legacy.tracker import DjangoTracker, override_default_tracker

__all__ = ["DjangoTracker", "override_default_tracker"]
