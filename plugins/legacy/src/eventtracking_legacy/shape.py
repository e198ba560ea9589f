"""Events as the dicts that code written for event-tracking works on, and back.

Such code may give an event any shape: it renames `timestamp` to `time`, moves keys to the top
level, or makes several events of one. An `Event` that was given another shape is a `ShapedEvent`,
which is written out in that shape.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

import attrs

from eventtracking import Event
from eventtracking._data.mend import snapshot

__all__ = ["ShapedEvent", "from_legacy", "restore", "to_legacy"]

_MARK: Final = "_legacy"
"""The key in `Event.extra` under which the shape travels, through routers that know nothing of it.
"""

_FITS: Final[dict[str, Callable[[Any], bool]]] = {
    "name": lambda value: isinstance(value, str) and bool(value),
    "timestamp": lambda value: isinstance(value, datetime) and value.tzinfo is not None,
    "context": lambda value: isinstance(value, dict),
    "data": lambda value: isinstance(value, dict),
}
_OWN_KEYS: Final = (*_FITS, "id")


@attrs.define(kw_only=True)
class ShapedEvent(Event):
    """An event that was given a shape of its own: keys are missing, or hold what an `Event` cannot,
    or it is a list.
    """

    def _document(self) -> dict[str, Any]:
        mark = self.extra[_MARK]
        if "events" in mark:
            return {"name": self.name, "events": mark["events"], "id": self.id}
        own = {
            "name": self.name,
            "timestamp": self.timestamp,
            "context": self.context,
            "data": self.data,
        }
        document = {key: value for key, value in own.items() if key not in mark["absent"]}
        others = {key: value for key, value in self.extra.items() if key != _MARK}
        return {**document, "id": self.id, **others, **mark["own"]}


def restore(event: Event) -> Event:
    """Give an event its shape back, which a router on the way did not know of."""
    if _MARK not in event.extra or isinstance(event, ShapedEvent):
        return event
    return ShapedEvent(**{field.name: getattr(event, field.name) for field in attrs.fields(Event)})


def to_legacy(event: Event) -> Any:
    """Return the event as a dict of its own (or as the list that a site's processor made of it)."""
    event = restore(event)
    mark = event.extra.get(_MARK, {})
    document: dict[str, Any] = snapshot(
        event._document()
    ).value  # as to_dict(), but text may be what it was
    if "events" in mark:
        return document["events"]
    if "id" not in mark.get("own", {}):
        del document[
            "id"
        ]  # the predecessor's events had none, and code that copies all keys stumbles over it
    return document


def from_legacy(event: Event, result: Any) -> Event:
    """Read back what a site's processor made of an event.

    Args:
        event: The event that the processor was given. Its id stays.
        result: The dict, or a list of dicts.

    Raises:
        TypeError: If it is neither.
    """
    if isinstance(result, list | tuple) and all(isinstance(item, Mapping) for item in result):
        shape = {"events": snapshot([dict(item) for item in result]).value}
        return ShapedEvent(
            id=event.id, name=event.name, timestamp=event.timestamp, extra={_MARK: shape}
        )
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
    own = {key: value for key, value in given.items() if key not in fitting}
    absent = [key for key in _FITS if key not in given]
    fields = {"name": event.name, "timestamp": event.timestamp, **fitting, "id": event.id}
    return ShapedEvent(**fields, extra={**document, _MARK: {"absent": absent, "own": own}})
