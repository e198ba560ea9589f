"""Reasons of dead letters: safe text of a limited length, for it travels with each event."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final

from eventtracking import Rejected
from eventtracking.errors import describe_error

__all__ = ["by_reason", "safe_reason"]

_MAX_CHARS: Final = 500


def safe_reason(error: Exception, event_id: str, before: str = "") -> str:
    """Say why an event died, in text that can be sent and stored."""
    if isinstance(error, Rejected):
        reason = error.reasons.get(event_id)
        text = reason if isinstance(reason, str) and reason else "rejected"
    else:
        text = describe_error(error)
    text = before + text
    cut = text[:_MAX_CHARS].encode("utf-8", "backslashreplace").decode()
    return cut if len(text) <= _MAX_CHARS else f"{cut}..."


def by_reason(dead: Mapping[str, str]) -> Mapping[str, int]:
    """Count events by their reason."""
    return Counter(dead.values())
