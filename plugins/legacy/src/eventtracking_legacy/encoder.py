"""The JSON encoder that code written for event-tracking imports."""

from __future__ import annotations

import json
from datetime import date, datetime, timezone
from typing import Any, Final

__all__ = ["MAX_EVENT_SIZE", "DateTimeJSONEncoder"]

MAX_EVENT_SIZE: Final = 1024
"""The limit that event-tracking's logger had by default; ours has none."""


class DateTimeJSONEncoder(json.JSONEncoder):
    """Write times as ISO 8601 in UTC, and dates as ISO 8601. A time without a zone is in UTC."""

    def default(self, o: Any) -> Any:
        """Return text for a time or a date.

        Raises:
            TypeError: For any other type.
        """
        if isinstance(o, datetime):
            moment = o.replace(tzinfo=timezone.utc) if o.tzinfo is None else o
            return moment.astimezone(timezone.utc).isoformat()
        if isinstance(o, date):
            return o.isoformat()
        return super().default(o)
