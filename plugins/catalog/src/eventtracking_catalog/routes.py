"""The routes that take an event type: the routing tree answers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import attrs

from eventtracking import Event, Outcome, Tracker
from eventtracking_catalog.declaration import Declaration
from eventtracking_catalog.export import sample
from eventtracking_catalog.records import RECORD_NAME, record_of

__all__ = ["HINT", "Routes", "RoutesOf", "dropping", "routes_of"]

HINT: Final = f"let {RECORD_NAME} pass, or say records = false in a catalog on that route"


@attrs.frozen
class RoutesOf:
    """The routes of one event type."""

    takes: tuple[str, ...]
    """The paths that take its events."""
    without_records: tuple[str, ...]
    """Of these, the ones that drop its records, and not on purpose."""


Routes = dict[str, RoutesOf]
"""By event name."""


def routes_of(tracker: Tracker, declarations: Iterable[Declaration]) -> Routes:
    """Ask the routing tree about each event type; nothing is sent."""
    on_purpose = _without_records_on_purpose(tracker)
    return {one.name: _routes_of(tracker, one, on_purpose) for one in declarations}


def dropping(routes: Routes) -> dict[str, list[str]]:
    """Return, for each path that drops records, the names of the types that it takes."""
    found: dict[str, list[str]] = {}
    for name, one in routes.items():
        for path in one.without_records:
            found.setdefault(path, []).append(name)
    return found


def _routes_of(tracker: Tracker, one: Declaration, on_purpose: tuple[str, ...]) -> RoutesOf:
    # Stamped already, so that the catalog on the way sends no record of its own.
    event = Event(name=one.name, data=sample(one.fields), extra={"schema": one.schema})
    takes = _takers(tracker, event)
    keeps = set(_takers(tracker, record_of(one, is_inline=False)))
    without = [path for path in takes if path not in keeps and not _is_below(path, on_purpose)]
    return RoutesOf(tuple(takes), tuple(without))


def _takers(tracker: Tracker, event: Event) -> list[str]:
    """List the paths where an event would end: those with no route below that takes it."""
    decisions = tracker.explain(event)
    paths = [one.path for one in decisions if one.outcome is Outcome.DELIVERED and one.path]
    inner = {path.rpartition("/")[0] for path in (one.path for one in decisions)}
    return [path for path in paths if path not in inner]


def _without_records_on_purpose(tracker: Tracker) -> tuple[str, ...]:
    """The paths whose `catalog` says `records = false`."""
    return tuple(
        view.path
        for view in tracker.routes()
        for processor in view.processors
        if getattr(processor, "leaves_records_out", False)
    )


def _is_below(path: str, others: Iterable[str]) -> bool:
    return any(path == other or path.startswith(f"{other}/") or not other for other in others)
