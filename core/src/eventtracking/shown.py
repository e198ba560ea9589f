"""The part of an event that people may see: in a tap, a console, a command line."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from eventtracking.event import Event

if TYPE_CHECKING:
    from eventtracking._tree.observers import RouteView

__all__ = ["processors_on_the_way", "shown"]


def processors_on_the_way(routes: Iterable[RouteView], path: str) -> list[Any]:
    """Return the processors that an event passes from the root to a route, in order.

    Args:
        routes: All routes, as `Tracker.routes()` gives them.
        path: The route; one that the config does not name has the processors of those above it.
    """
    return [
        processor
        for route in routes
        if not route.path or f"{path}/".startswith(f"{route.path}/")
        for processor in route.processors
    ]


def shown(event: Event, processors: Iterable[Any]) -> dict[str, Any]:
    """Return the part of an event that people may see: each processor that has `shown` is asked.

    One that raises, or returns no event, leaves the keys, without a value.

    Example:
        >>> from eventtracking import Event
        >>> shown(Event(name="x", data={"mode": "audit"}), [])["data"]
        {'mode': 'audit'}
    """
    for processor in processors:
        ask = getattr(processor, "shown", None)
        if ask is None:
            continue
        try:
            found = ask(event)
        except Exception:  # noqa: BLE001 - an event whose redaction did not finish must not be seen
            return _keys_only(event)
        if not isinstance(found, Event):
            return _keys_only(event)
        event = found
    return json.loads(event.to_json())  # type: ignore[no-any-return]  # an object


def _keys_only(event: Event) -> dict[str, Any]:
    hidden = {key: dict.fromkeys(getattr(event, key), "…") for key in ("context", "data")}
    return {
        "name": event.name,
        "timestamp": event.timestamp.isoformat(),
        "id": event.id,
        **hidden,
    }
