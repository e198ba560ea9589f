"""The values of each page, made from the state of the processes and stores."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any, Final

import attrs
import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from eventtracking import Event, Tracker
from eventtracking_console.watch import Flow, Watcher
from eventtracking_live.state import Numbers, RouteState
from eventtracking_live.table import duration

__all__ = ["RouteRow", "environment", "explained", "parsed", "route_rows"]

_SPARK: Final = (120, 24)
"""Width and height of a sparkline."""
_NAMED: Final = 50
"""Letters that a sentence names."""


def environment() -> Environment:
    """Return the templates. All values that they are given are escaped."""
    made = Environment(
        loader=PackageLoader("eventtracking_console"),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["duration"] = duration
    made.filters["moment"] = moment
    made.filters["pretty"] = pretty
    made.filters["numbers"] = numbers
    return made


def moment(value: Any) -> str:
    """Say when, in UTC."""
    if isinstance(value, int | float):
        value = datetime.fromtimestamp(value, timezone.utc)
    return value.strftime("%Y-%m-%d %H:%M:%S UTC") if isinstance(value, datetime) else str(value)


def pretty(value: Any) -> str:
    """Lay JSON out for people."""
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)


def numbers(found: Sequence[int]) -> str:
    """Name letters by number, as many as a person reads."""
    more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    return ", ".join(map(str, found[:_NAMED])) + more


@attrs.frozen
class RouteRow:
    """A route as the page shows it."""

    state: RouteState
    numbers: Numbers
    depth: int
    flow: Flow | None
    sparkline: str
    """Points of an SVG polyline: events in, one point for each look."""
    failing: bool
    """Whether it fails just now, or one below it does."""

    @property
    def label(self) -> str:
        """The last part of the path."""
        return self.state.path.rpartition("/")[2] or "all events"


def route_rows(watcher: Watcher) -> list[RouteRow]:
    """Return every route, parents first."""
    rows = []
    failing = {
        child.route
        for state in watcher.picture.routes.values()
        for child in state.failing
        if child.failures  # without any it is a pause that the destination asked for
    }
    for path, state in watcher.picture.routes.items():
        flows = watcher.flows.get(path, ())
        rows.append(
            RouteRow(
                state,
                watcher.picture.counts.get(path, Numbers()),
                path.count("/") + 1 if path else 0,
                flows[-1] if flows else None,
                _points([flow.incoming for flow in flows]),
                any(route == path or route.startswith(f"{path}/") for route in failing),
            )
        )
    return rows


def _points(values: Sequence[float]) -> str:
    if len(values) < 2:
        return ""
    width, height = _SPARK
    top = max(*values, 1e-9)
    step = width / (len(values) - 1)
    return " ".join(
        f"{index * step:.1f},{height - 1 - value / top * (height - 2):.1f}"
        for index, value in enumerate(values)
    )


def parsed(text: str) -> Event:
    """Read a pasted event, `{"name": ..., "data": {...}}`.

    Raises:
        ValueError: If it is none.
    """
    content = msgspec.json.decode(text)
    if not isinstance(content, dict) or not isinstance(content.get("name"), str):
        raise ValueError('expected a JSON object with "name"')
    parts = {key: content.get(key) or {} for key in ("data", "context")}
    for key, part in parts.items():
        if not isinstance(part, dict):
            raise ValueError(f"{key} must be an object")
    event = Event(name=content["name"], data=parts["data"], context=parts["context"])
    given = content.get("id")
    return event.replace(id=given) if isinstance(given, str) and given else event


def explained(tracker: Tracker, event: Event) -> list[dict[str, Any]]:
    """Tell which routes would take an event, and why; nothing is sent or counted."""
    return [
        {
            "route": decision.path,
            "outcome": decision.outcome.label,
            "reason": decision.reason,
            "processor": decision.processor,
        }
        for decision in tracker.explain(event)
    ]
