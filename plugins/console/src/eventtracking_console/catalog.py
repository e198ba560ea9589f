"""The catalog's pages, where the plugin `catalog` is installed: event types, rates, last seen."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from datetime import datetime
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final

import attrs

from eventtracking import DeliveryError, Tracker
from eventtracking_console.searching import searchable

__all__ = ["Catalog", "Seen", "TypeRow"]

_SAMPLE: Final = 100
"""Stored events of a type that its rate is taken from."""
_RECORDS: Final = 1_000
_ASKING_S: Final = 2.0
"""How long the stores are asked for one page; the types after that stay without a rate."""
_UNITS: Final = ((1.0, "s"), (60.0, "min"), (3_600.0, "h"), (86_400.0, "day"))


@attrs.frozen
class Seen:
    """The newest stored events of a type."""

    last: datetime
    rate: str
    """The mean since the oldest of the last hundred, `2.5 / min`; empty for a single event."""


@attrs.frozen
class TypeRow:
    """An event type or a context in the list."""

    declaration: Any
    seen: Seen | None


@attrs.define(eq=False)
class Catalog:
    """The declarations of this process, and their events in the stores that offer a search.

    The catalog is no dependency: its modules are found by name, where it is installed.
    """

    tracker: Tracker
    is_installed: bool = attrs.field(factory=lambda: find_spec("eventtracking_catalog") is not None)
    _clock: Any = attrs.field(default=time.time)

    def rows(self, kind: str, words: str) -> list[TypeRow]:
        """Return the types or contexts whose name, text, owner or fields hold every word."""
        wanted = words.casefold().split()
        found = [one for one in _registry().all(kind) if _holds(one, wanted)]
        if kind != "event":
            return [TypeRow(one, None) for one in found]
        deadline = time.monotonic() + _ASKING_S
        rows = []
        for one in found:
            seen = self.seen(one.name) if time.monotonic() < deadline else None
            rows.append(TypeRow(one, seen))
        return rows

    def one(self, kind: str, name: str) -> Any | None:
        """Return a declaration; None where there is none."""
        return _registry().get(name, kind)

    def seen(self, name: str) -> Seen | None:
        """Look for the newest events of a type, in every store that offers a search."""
        times = sorted(
            (event.timestamp for event in self._found(name, _SAMPLE) if event.name == name),
            reverse=True,
        )[:_SAMPLE]
        if not times:
            return None
        span_s = max(self._clock() - times[-1].timestamp(), 1e-3)
        return Seen(times[0], _rate((len(times) - 1) / span_s))

    def routes(self, one: Any) -> Sequence[str]:
        """Ask the routing tree which routes take a type."""
        found = import_module("eventtracking_catalog.routes").routes_of(self.tracker, [one])
        takes: Sequence[str] = found[one.name].takes
        return takes

    def versions(self, one: Any) -> list[tuple[Any, list[Any]]]:
        """Return the documented versions of a type, newest first, each with its changes."""
        history = import_module("eventtracking_catalog.history").history_of
        compare = import_module("eventtracking_catalog.diff").compare
        name = import_module("eventtracking_catalog.records").RECORD_NAME
        known = history(self._found(name, _RECORDS)).get(one.name)
        found, before = [], None
        for version in known.versions if known is not None else ():
            old = _by_name(version) if before is None else {one.name: before}
            found.append((version, list(compare(old, _by_name(version)))))
            before = version.declaration
        return found[::-1]

    def fields(self, one: Any) -> list[dict[str, Any]]:
        """Return the fields at every depth, for the table."""
        walk = import_module("eventtracking_catalog.types").walk
        text_of = import_module("eventtracking_catalog.notation").text_of
        about = import_module("eventtracking_catalog.show").about
        return [
            {"path": path, "field": field, "type": text_of(field.type), "about": list(about(field))}
            for path, field in walk(one.fields)
        ]

    def _found(self, name: str, limit: int) -> Iterable[Any]:
        for view in searchable(self.tracker).values():
            try:
                yield from view.backend.search(name=name, limit=limit)
            except DeliveryError:  # a store that is away leaves the page without its events
                continue


def _by_name(version: Any) -> dict[str, Any]:
    return {version.declaration.name: version.declaration}


def _registry() -> Any:
    import_module("eventtracking_catalog.entry_points").load_entry_points()
    return import_module("eventtracking_catalog.registry").registry


def _holds(one: Any, wanted: Sequence[str]) -> bool:
    walk = import_module("eventtracking_catalog.types").walk
    paths = " ".join(path for path, _ in walk(one.fields))
    text = f"{one.name} {one.description} {one.owner} {paths}".casefold()
    return all(word in text for word in wanted)


def _rate(per_s: float) -> str:
    """Say a rate in the smallest unit that gives a whole number."""
    if per_s <= 0:
        return ""
    for size, unit in _UNITS:
        if per_s * size >= 1 or unit == "day":
            return f"{per_s * size:.1f} / {unit}"
    return ""
