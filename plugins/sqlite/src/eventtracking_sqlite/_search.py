"""Searching an event file, beside the processes that write it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from eventtracking import Event
from eventtracking_sqlite._rows import COLUMNS, sortable

__all__ = ["find"]

_BUSY_S: Final = 2.0


def find(
    path: Path,
    name: str | None,
    since: datetime | None,
    until: datetime | None,
    context: Mapping[str, Any] | None,
    after: str | None,
    limit: int,
) -> list[Event]:
    """Return the newest events that match; none where there is no file yet.

    Raises:
        sqlite3.Error: If the file cannot be read.
    """
    if not path.exists():
        return []
    wanted, values = _conditions(name, since, until, context, after)
    where = f" WHERE {' AND '.join(wanted)}" if wanted else ""
    query = (
        f"SELECT {', '.join(COLUMNS)} FROM events{where}"  # noqa: S608 - our own names; values are bound
        " ORDER BY timestamp DESC, id DESC LIMIT ?"
    )
    address = f"file:{quote(str(path))}?mode=ro"
    with closing(sqlite3.connect(address, uri=True, timeout=_BUSY_S)) as connection:
        return [_event(row) for row in connection.execute(query, [*values, limit])]


def _conditions(
    name: str | None,
    since: datetime | None,
    until: datetime | None,
    context: Mapping[str, Any] | None,
    after: str | None,
) -> tuple[list[str], list[Any]]:
    found: list[tuple[str, list[Any]]] = []
    if name is not None and name.endswith("*"):
        found.append(("substr(name, 1, ?) = ?", [len(name) - 1, name[:-1]]))
    elif name is not None:
        found.append(("name = ?", [name]))
    if since is not None:
        found.append(("timestamp >= ?", [sortable(since)]))
    if until is not None:
        found.append(("timestamp < ?", [sortable(until)]))
    for key, value in (context or {}).items():
        steps = ".".join(json.dumps(part) for part in key.split("."))
        found.append(("json_extract(context, ?) = ?", [f"$.{steps}", value]))
    if after is not None:
        older = "(timestamp, id) < (SELECT timestamp, id FROM events WHERE id = ?)"
        found.append((older, [after]))
    return [text for text, _ in found], [value for _, values in found for value in values]


def _event(row: tuple[str, ...]) -> Event:
    identity, name, moment, context, data, extra = row
    return Event(
        id=identity,
        name=name,
        timestamp=datetime.fromisoformat(moment.replace("Z", "+00:00")),
        context=json.loads(context),
        data=json.loads(data),
        extra=json.loads(extra),
    )
