"""The predecessor's names for the filter by names."""

from eventtracking_legacy.exceptions import EventEmissionExit
from eventtracking_legacy.filters import NameWhitelistProcessor

__all__ = ["EventEmissionExit", "NameWhitelistProcessor"]
