"""The predecessor's names for the filter by patterns."""

from typing import Final

from eventtracking_legacy.exceptions import EventEmissionExit, ImproperlyConfigured
from eventtracking_legacy.filters import RegexFilter

__all__ = ["ALLOWLIST", "BLOCKLIST", "EventEmissionExit", "ImproperlyConfigured", "RegexFilter"]

ALLOWLIST: Final = "allowlist"
BLOCKLIST: Final = "blocklist"
