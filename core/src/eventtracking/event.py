"""The event: its name, data, time and context."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

import attrs
import msgspec
import uuid_utils

from eventtracking._data.copy import IS_COMPILED, fast_copy, genuine_datetime
from eventtracking._data.shape import MARK, in_shape
from eventtracking._data.snapshot import as_utc, clean, valid_text

__all__ = ["Event", "new_event_id"]

_UTC = timezone.utc
_OWN_KEYS = ("name", "timestamp", "context", "data", "id")
_SAME: Any = object()
_new = object.__new__
_encode = msgspec.json.Encoder().encode


def new_event_id() -> str:
    """Make an event id: a UUIDv7 (RFC 9562) in text form, so that ids sort by the time they were
    made.
    """
    return str(uuid_utils.uuid7())


def _now() -> datetime:
    return datetime.now(_UTC)


def _utc(moment: datetime) -> datetime:
    """Return a time in UTC; the same if UTC has no year for it, which `submit` mends."""
    try:
        return as_utc(moment)
    except OverflowError:
        return moment


@attrs.define(kw_only=True)
class Event:
    """One event.

    Immutable by contract: a processor that wants another one returns `event.replace(...)`.

    It has no frozen setters, because those cost three times the construction; the contract suites
    of the test kit catch a plugin that changes an event in place.

    Making one turns its name and id into valid Unicode and its time into UTC. From then on, no way
    out changes any of the three.
    """

    name: str = attrs.field(converter=valid_text)
    """The name: `edx.course.enrollment.activated`."""
    id: str = attrs.field(factory=new_event_id, converter=valid_text)
    """A UUIDv7 in text form. Stores use it so that delivering twice stores once."""
    timestamp: datetime = attrs.field(factory=_now, converter=_utc)
    """When it happened: an aware datetime in UTC."""
    context: dict[str, Any] = attrs.field(factory=dict)
    """Where it happened: the merged contexts. Shared between events, so never change it."""
    data: dict[str, Any] = attrs.field(factory=dict)
    """The facts: plain dicts, lists, tuples, text, numbers, None, datetime, date, UUID and bytes.
    """
    extra: dict[str, Any] = attrs.field(factory=dict)
    """Further top-level keys, usually none."""

    def replace(
        self,
        *,
        name: str = _SAME,
        id: str = _SAME,  # noqa: A002 - the name of the field
        timestamp: datetime = _SAME,
        context: dict[str, Any] = _SAME,
        data: dict[str, Any] = _SAME,
        extra: dict[str, Any] = _SAME,
    ) -> Event:
        """Return a copy with some fields changed: `event.replace(data={**event.data, "score": 1})`.

        Raises:
            TypeError: If a change names no field.
        """
        event: Event = _new(self.__class__)  # `attrs.evolve` costs four times as much
        event.name = self.name if name is _SAME else valid_text(name)
        event.id = self.id if id is _SAME else valid_text(id)
        event.timestamp = self.timestamp if timestamp is _SAME else _utc(timestamp)
        event.context = self.context if context is _SAME else context
        event.data = self.data if data is _SAME else data
        event.extra = self.extra if extra is _SAME else extra
        return event

    def to_dict(self) -> dict[str, Any]:
        """Return the event as a dict of its own, which the caller may change.

        Times, UUIDs and bytes keep their types; text is valid Unicode (see `to_json`). The keys
        are `name`, `timestamp`, `context`, `data`, `id`, and then the extra ones.
        """
        document = self._written()
        try:
            _encode(document)  # the cheapest proof that all text is valid
        except Exception:  # noqa: BLE001 - the slow way copes with all that the fast one refuses
            return self._mended_document()
        try:
            return fast_copy(document)  # type: ignore[no-any-return]  # a dict stays one
        except Exception:  # noqa: BLE001 - as above
            return self._mended_document()

    def to_json(self) -> str:
        """Return the event as one line of JSON that starts with `{`.

        Times are RFC 3339, UUIDs text, bytes base64, NaN and infinities null. Lone surrogates,
        which are no valid Unicode, become the text of their escape, so that every store can hold
        them.
        """
        document = self._written()
        try:
            return _encode(document).decode()
        except Exception:  # noqa: BLE001 - the slow way copes with all that the fast one refuses
            return _encode(self._mended_document(plain=True)).decode()

    def _mended_document(self, plain: bool = False) -> dict[str, Any]:
        """Make a document of fields that are mended each by itself.

        Name, id and time are no part of the walk over the data, whose bounds could replace them.
        """
        document = {key: clean(getattr(self, key), plain) for key in _OWN_KEYS}
        extra = clean(self.extra, plain)
        if isinstance(extra, dict):
            document = {**document, **extra, **document}
        return in_shape(document) if MARK in document else document

    def _written(self) -> dict[str, Any]:
        document = self._document()
        return in_shape(document) if MARK in document else document

    def _document(self) -> dict[str, Any]:
        document: dict[str, Any] = {
            "name": self.name,
            "timestamp": self.timestamp,
            "context": self.context,
            "data": self.data,
            "id": self.id,
        }
        return {**document, **self.extra, **document} if self.extra else document

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Event:
        """Read an event back from `to_dict` or parsed `to_json`; unknown keys become
        `extra`.

        Raises:
            ValueError: If there is no `name`, or the `timestamp` is neither a datetime nor RFC 3339
                text.
        """
        known = {key: document[key] for key in _OWN_KEYS if document.get(key) is not None}
        if not isinstance(known.get("name"), str) or not known["name"]:
            raise ValueError("an event needs a `name` that is text")
        for key in ("context", "data"):
            if not isinstance(known.get(key, {}), Mapping):
                raise ValueError(
                    f"the event's `{key}` must be a mapping, not {type(known[key]).__name__}"
                )
        if "timestamp" in known:
            known["timestamp"] = _read_timestamp(known["timestamp"])
        if "id" in known:
            known["id"] = str(known["id"])
        extra = {key: value for key, value in document.items() if key not in _OWN_KEYS}
        return cls(**known, extra=extra)


if IS_COMPILED:
    from eventtracking._data._compiled import bind

    # This gives it compiled forms of `replace` and `_document`, too.
    bind(Event, uuid_utils.uuid7, valid_text, _utc)


def _read_timestamp(value: Any) -> datetime:
    try:
        return as_utc(msgspec.convert(value, genuine_datetime(), strict=False))
    except (msgspec.ValidationError, OverflowError):
        raise ValueError(
            "the event's `timestamp` must be a datetime or RFC 3339 text, in the years 1 to 9999"
        ) from None
