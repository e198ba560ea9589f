"""Events that are written in a shape of their own.

`Event.data` is a dict, so that every plugin can rely on it. Code written for event-tracking emits
text and lists, and its processors move keys about. `Event.extra` then holds a mark with the shape
to write. The mark travels with the event through buffers and workers. Only code inside a tree sets
it: `Tracker.submit` drops one that comes with an event from outside.
"""

from __future__ import annotations

from typing import Any, Final

__all__ = ["BARE", "MARK", "bare", "in_shape"]

MARK: Final = "_legacy"
"""The key of `Event.extra` that holds the mark. Stored events of version 0.1.0 have it."""
BARE: Final = "bare"
"""Set in a mark if `data` is the value of its only key, `value`."""
_KEY: Final = "value"
_OWN: Final = ("name", "timestamp", "context", "data")


def bare(data: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the data and the extra keys of an event whose data is no dict.

    Empty text, an empty list, zero and False are no data, as in event-tracking.
    """
    return ({_KEY: data}, {MARK: {BARE: True}}) if data else ({}, {})


def in_shape(document: dict[str, Any]) -> dict[str, Any]:
    """Return an event's dict in the shape of its mark, which goes."""
    rest = dict(document)
    mark = rest.pop(MARK)
    if not isinstance(mark, dict):
        return rest
    if "events" in mark:
        return {"name": rest["name"], "events": mark["events"], "id": rest["id"]}
    if mark.get(BARE) and isinstance(rest["data"], dict) and list(rest["data"]) == [_KEY]:
        rest["data"] = rest["data"][_KEY]
    absent, own = mark.get("absent", ()), mark.get("own", {})
    kept = {key: rest[key] for key in _OWN if key not in absent}
    others = {key: value for key, value in rest.items() if key not in _OWN}
    return {**kept, "id": others.pop("id"), **others, **own}
