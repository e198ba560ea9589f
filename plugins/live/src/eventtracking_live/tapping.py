"""The tap, as it goes over the socket: redacted events, at most 100 a second."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, Final, Protocol

import msgspec

from eventtracking import Event, Tracker
from eventtracking.shown import processors_on_the_way, shown

__all__ = ["PER_SECOND", "TapRequest", "matches", "serve_tap", "shown"]

PER_SECOND: Final = 100
_TICK_S: Final = 0.1
_HEARTBEAT_S: Final = 1.0
"""How often a quiet tap tells its skipped events, and so notices that its reader has gone."""


class TapRequest(Protocol):
    """The request of a client."""

    route: str
    before: bool
    name: str
    fields: dict[str, str]


def serve_tap(client: socket.socket, tracker: Tracker, request: TapRequest) -> None:
    """Send the events that pass, a line of JSON each, until the client goes away.

    Raises:
        OSError: If it went away, or reads nothing.
    """
    views = {view.path: view for view in tracker.routes()}
    if request.route not in views:
        known = ", ".join(path or '""' for path in views)
        _send(client, {"error": f"no route at {request.route!r}; the routes are {known}"})
        return
    processors = processors_on_the_way(tracker.routes(), request.route)
    told_at = float("-inf")
    with tracker.tap(request.route, request.before, int(PER_SECOND * _TICK_S)) as tap:
        while True:
            began_s = time.monotonic()
            lines = [
                {**shown(one.event, processors), "outcome": one.outcome.label}
                for one in tap.read(_HEARTBEAT_S)
                if matches(one.event, request.name, request.fields)
            ]
            if lines or began_s - told_at >= _HEARTBEAT_S:
                told_at = began_s
                _send(client, {"events": lines, "skipped": tap.skipped, "route": request.route})
            time.sleep(max(_TICK_S - (time.monotonic() - began_s), 0.0))


def _send(client: socket.socket, message: Mapping[str, Any]) -> None:
    client.sendall(msgspec.json.encode(message, enc_hook=str) + b"\n")


def matches(event: Event, name: str, fields: Mapping[str, str]) -> bool:
    """Whether an event has this name (`*` at its end stands for any text) and these fields."""
    if name.endswith("*"):
        if not event.name.startswith(name[:-1]):
            return False
    elif name and event.name != name:
        return False
    return all(expected in _values_at(event, path) for path, expected in fields.items())


def _values_at(event: Event, path: str) -> Iterator[str]:
    """Yield the values at a path, `course_id` or `data.user.id`, as text."""
    parts = path.split(".")
    if parts[0] in ("data", "context"):
        parts, roots = parts[1:], [getattr(event, parts[0])]
    else:
        roots = [event.data, event.context]
    for root in roots:
        value: Any = root
        for part in parts:
            value = value.get(part) if isinstance(value, Mapping) else None
        if value is not None:
            yield value if isinstance(value, str) else _text(value)


def _text(value: Any) -> str:
    with suppress(Exception):
        return msgspec.json.encode(value, enc_hook=str).decode()
    return str(value)
