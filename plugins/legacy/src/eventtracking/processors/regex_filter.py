"""The predecessor's names for the filter by patterns."""

from typing import Final

from eventtracking_legacy.objects import RegexFilter

__all__ = ["ALLOWLIST", "BLOCKLIST", "RegexFilter"]

ALLOWLIST: Final = "allowlist"
BLOCKLIST: Final = "blocklist"
