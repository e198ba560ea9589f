"""Events as rows of the table."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import Final

import msgspec

from eventtracking import Event

__all__ = ["COLUMNS", "Row", "row_of", "sortable"]

Row = tuple[str, str, str, str, str, str]

COLUMNS: Final = ("id", "name", "timestamp", "context", "data", "extra")
_encode = msgspec.json.Encoder().encode


def row_of(event: Event) -> Row:
    """Return an event's values, in the order of `COLUMNS`.

    Raises:
        Exception: If not even the slow way can tell it in JSON, or its name or id is no text.
    """
    if {type(event.name), type(event.id)} != {str}:
        raise TypeError
    moment = sortable(event.timestamp)
    try:
        for text in (event.id, event.name):
            text.encode()  # a lone surrogate, which SQLite would refuse
        parts = (_encode(event.context), _encode(event.data), _encode(event.extra))
    except Exception:  # noqa: BLE001 - the slow way copes with all that the fast one refuses
        return _row_by_json(event, moment)
    return (event.id, event.name, moment, *(part.decode() for part in parts))  # type: ignore[return-value]  # three parts


def _row_by_json(event: Event, moment: str) -> Row:
    extra = json.loads(event.to_json())
    own = {key: extra.pop(key) for key in COLUMNS[:-1]}
    context, data, rest = (
        json.dumps(part, ensure_ascii=False) for part in (own["context"], own["data"], extra)
    )
    return own["id"], own["name"], moment, context, data, rest


def sortable(moment: datetime) -> str:
    """RFC 3339 in UTC with as many digits for all, so that the text sorts as the time does."""
    return moment.astimezone(timezone.utc).isoformat(timespec="microseconds")[:-6] + "Z"
