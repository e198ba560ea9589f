"""Events as the dicts that code written for event-tracking works on, and back.

Such code may give an event any shape: it emits text, renames `timestamp` to `time`, moves keys to
the top level, or makes several events of one. Core writes the shape out (`_data/shape.py`); here
the mark for it is made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from eventtracking import Event
from eventtracking._data.shape import BARE, MARK, bare, in_shape
from eventtracking._data.snapshot import snapshot

__all__ = ["from_legacy", "to_legacy"]

_FITS: Final[dict[str, Callable[[Any], bool]]] = {
    "name": lambda value: isinstance(value, str) and bool(value),
    "timestamp": lambda value: isinstance(value, datetime) and value.tzinfo is not None,
    "context": lambda value: isinstance(value, dict),
    "data": lambda value: isinstance(value, dict),
}
_OWN_KEYS: Final = (*_FITS, "id", MARK)


def to_legacy(event: Event) -> Any:
    """Return the event as a dict of its own (or as the list that a site's processor made of it)."""
    mark = event.extra.get(MARK, {})
    document = event._document()  # as to_dict(), but in plain types
    document = snapshot(in_shape(document) if mark else document).value
    if "events" in mark:
        return document["events"]
    if "id" not in mark.get("own", {}):
        # the predecessor's events had none, and code that copies all keys stumbles over it
        del document["id"]
    return document


def from_legacy(event: Event, result: Any) -> Event:
    """Read back an event that a site's processor changed.

    Args:
        event: The event that the processor was given. Its id stays.
        result: The dict, or a list of dicts.

    Raises:
        TypeError: If it is neither.
    """
    if isinstance(result, list | tuple) and all(isinstance(item, Mapping) for item in result):
        shape = {"events": snapshot([dict(item) for item in result]).value}
        return Event(id=event.id, name=event.name, timestamp=event.timestamp, extra={MARK: shape})
    if not isinstance(result, Mapping):
        raise TypeError(
            f"a processor must return a dict, a list of dicts or None, not {type(result).__name__}"
        )
    return _from_dict(event, snapshot(dict(result)).value)


def _from_dict(event: Event, document: dict[str, Any]) -> Event:
    given = {key: document.pop(key) for key in _OWN_KEYS if key in document}
    fitting = {key: value for key, value in given.items() if key in _FITS and _FITS[key](value)}
    if len(fitting) == len(given) == len(_FITS):
        return Event(**fitting, id=event.id, extra=document)
    mark: dict[str, Any] = {"absent": [key for key in _FITS if key not in given]}
    if "data" in given and "data" not in fitting and given["data"]:
        # not beside the event's data but as a part of it, so that scrubbers below find it
        fitting["data"], _ = bare(given["data"])
        mark[BARE] = True
    # A key with the mark's own name is the site's, and no mark: it is written as it is.
    mark["own"] = {key: value for key, value in given.items() if key not in fitting}
    fields = {"name": event.name, "timestamp": event.timestamp, **fitting, "id": event.id}
    return Event(**fields, extra={**document, MARK: mark})
