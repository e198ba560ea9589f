"""The predecessor's name for the filter by names."""

from eventtracking_legacy.objects import NameWhitelistProcessor

__all__ = ["NameWhitelistProcessor"]
