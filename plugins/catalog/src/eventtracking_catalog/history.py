"""The records in a store: the versions of event types, who emitted them, and since when."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import attrs

from eventtracking import Event
from eventtracking_catalog.declaration import Declaration
from eventtracking_catalog.documents import declaration_from
from eventtracking_catalog.records import RECORD_NAME

__all__ = ["History", "Version", "history_of", "read_records"]

_KEYS: Final = ("description", "version", "owner", "deprecated", "fields")
_ROWS: Final = "SELECT name, timestamp, data FROM events WHERE name = ?"
_SPANS: Final = "SELECT name, count(*), min(timestamp), max(timestamp) FROM events GROUP BY name"


@attrs.define
class Version:
    """One version of an event type, as its records documented it."""

    declaration: Declaration
    since: str
    """The time of its first record."""
    emitters: dict[str, None] = attrs.field(factory=dict)
    """Where it was emitted from: `shop.views:12`."""


@attrs.define
class History:
    """The history of one event type in a store."""

    versions: list[Version] = attrs.field(factory=list)
    """By time: one for each schema and documentation."""
    count: int = 0
    first: str = ""
    last: str = ""


def read_records(path: Path) -> dict[str, History]:
    """Read the history of every event type from an SQLite store, or from a file of JSON lines."""
    with path.open("rb") as file:
        is_sqlite = file.read(16) == b"SQLite format 3\0"
    found: dict[str, History] = {}
    rows = _rows_of_store(path, found) if is_sqlite else _rows_of_lines(path, found)
    _take_all(rows, found)
    return found


def history_of(records: Iterable[Event]) -> dict[str, History]:
    """Read the history of event types from records that a search has found."""
    found: dict[str, History] = {}
    _take_all([(one.timestamp.isoformat(), one.data) for one in records], found)
    return found


def _take_all(rows: Iterable[tuple[str, Any]], found: dict[str, History]) -> None:
    versions: dict[tuple[str, str], Version] = {}
    for timestamp, data in sorted(rows, key=lambda row: row[0]):
        _take(timestamp, data, versions, found)


def _rows_of_store(path: Path, found: dict[str, History]) -> list[tuple[str, Any]]:
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as store:
        for name, count, first, last in store.execute(_SPANS):
            found[name] = History(count=count, first=first, last=last)
        rows = store.execute(_ROWS, (RECORD_NAME,)).fetchall()
    return [(timestamp, _parsed(data)) for _, timestamp, data in rows]


def _rows_of_lines(path: Path, found: dict[str, History]) -> list[tuple[str, Any]]:
    rows = []
    for event in _documents(path):
        name, timestamp = str(event.get("name")), str(event.get("timestamp", ""))
        if name == RECORD_NAME:
            rows.append((timestamp, event.get("data")))
        history = found.setdefault(name, History(first=timestamp))
        history.count += 1
        history.first, history.last = min(history.first, timestamp), max(history.last, timestamp)
    return rows


def _documents(path: Path) -> Iterator[Mapping[str, Any]]:
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            document = _parsed(line)
            if isinstance(document, Mapping):
                yield document


def _parsed(text: Any) -> Any:
    try:
        return json.loads(text)
    except (TypeError, ValueError, RecursionError):
        return None


def _take(
    timestamp: str,
    data: Any,
    versions: dict[tuple[str, str], Version],
    found: dict[str, History],
) -> None:
    """Take one record in; one that is none is passed over."""
    if not isinstance(data, Mapping) or not isinstance(data.get("name"), str):
        return
    key = str(data.get("schema")), str(data.get("docs"))
    if key not in versions:
        table = {name: data[name] for name in _KEYS if name in data}
        declared = declaration_from("event", data["name"], table, str(data.get("declared_at", "")))
        versions[key] = Version(declared, timestamp)
        found.setdefault(data["name"], History()).versions.append(versions[key])
    place = data.get("emitted_from")
    if isinstance(place, Mapping):
        versions[key].emitters[f"{place.get('module')}:{place.get('line')}"] = None
