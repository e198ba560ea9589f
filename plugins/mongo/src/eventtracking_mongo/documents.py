"""Events as BSON: encode each by itself, and tell which ones can never be stored."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date
from itertools import count
from typing import Any, Final

import bson
from bson.binary import UUID_SUBTYPE, Binary, UuidRepresentation
from bson.codec_options import CodecOptions, TypeRegistry
from bson.errors import InvalidDocument
from bson.raw_bson import RawBSONDocument

from eventtracking import Event

__all__ = ["MAX_DEPTH", "encode_batch", "event_of", "id_of"]

MAX_DEPTH: Final = 100
"""Containers inside containers, the document itself included: MongoDB's documented limit."""
_DOCUMENT: Final = b"\x03"
_ARRAY: Final = b"\x04"
"""The type bytes of containers in BSON."""
_UUID: Final = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}").fullmatch


def _encode_otherwise(value: Any) -> Any:
    """Encode what BSON has no type for: a date without a time becomes ISO text."""
    return value.isoformat() if isinstance(value, date) else value


_OPTIONS: Final = CodecOptions[dict[str, Any]](
    uuid_representation=UuidRepresentation.STANDARD,
    type_registry=TypeRegistry(fallback_encoder=_encode_otherwise),
)


def encode_batch(
    events: Sequence[Event], max_bytes: int
) -> tuple[dict[str, RawBSONDocument], dict[str, str]]:
    """Encode the events.

    Args:
        max_bytes: The largest document that the server takes.

    Returns:
        The documents, and the reasons against the others, both by event id.
    """
    documents, reasons = {}, {}
    for event in events:
        if event.id in documents:  # the first of an id is stored, as it would be in two batches
            continue
        try:
            raw = _encode(event)
            reason = _excess(raw, max_bytes)
        except Exception as error:  # noqa: BLE001 - whatever one event does to the encoder, the others are stored
            reason = _reason(error)
        if reason is None:
            documents[event.id] = RawBSONDocument(raw)
        else:
            reasons[event.id] = reason
    return documents, reasons


def _excess(raw: bytes, max_bytes: int) -> str | None:
    """Say which limit of MongoDB the document exceeds, if it does."""
    if len(raw) > max_bytes:
        return f"larger than MongoDB takes: {len(raw)} bytes of BSON, at most {max_bytes}"
    # Each level needs a byte that begins a container: counting those is quicker than a walk.
    may_be_deep = raw.count(_DOCUMENT) + raw.count(_ARRAY) >= MAX_DEPTH
    if may_be_deep and _is_deeper(bson.decode(raw)):
        return f"nested deeper than MongoDB takes: more than {MAX_DEPTH} levels"
    return None


def _encode(event: Event) -> bytes:
    """Encode one event as its `to_dict` says.

    The usual event needs no such copy: the encoder changes nothing, and refuses whatever `to_dict`
    would have to mend.
    """
    if not event.extra:
        fields = {
            "_id": id_of(event.id),
            "name": event.name,
            "timestamp": event.timestamp,
            "context": event.context,
            "data": event.data,
        }
        try:
            return bson.encode(fields, codec_options=_OPTIONS)
        except Exception:  # noqa: BLE001 - the other way mends it, or says what is wrong
            pass
    return bson.encode(_mended(event), codec_options=_OPTIONS)


def _mended(event: Event) -> dict[str, Any]:
    """The event's dict with `_id` in the place of `id`; an extra key of that name is kept as
    `_id#2`, or the next that is free.
    """
    fields = event.to_dict()
    if "_id" in fields:
        free = next(name for name in map("_id#{}".format, count(2)) if name not in fields)
        fields[free] = fields.pop("_id")
    event_id: str = fields.pop("id")
    return {"_id": id_of(event_id), **fields}


def id_of(event_id: str) -> Binary | str:
    """The id as a UUID if it is one in its usual form, else as it is.

    (A `Binary` is encoded quicker than a `UUID`.)
    """
    if _UUID(event_id):
        binary: Binary = Binary(bytes.fromhex(event_id.replace("-", "")), UUID_SUBTYPE)
        return binary
    return event_id


def event_of(document: Mapping[str, Any]) -> Event:
    """Read an event; what others have stored beside becomes one, too."""
    fields = dict(document)
    data, context = fields.pop("data", {}), fields.pop("context", {})
    core = {
        "id": str(fields.pop("_id")),
        "name": str(fields.pop("name", "")),
        "timestamp": fields.pop("timestamp"),
        "context": context if isinstance(context, dict) else {"value": context},
        "data": data if isinstance(data, dict) else {"value": data},
    }
    extra = {re.sub(r"^_id#\d+$", "_id", name): value for name, value in fields.items()}
    return Event(**core, extra=extra)


def _reason(error: Exception) -> str:
    """Say why an event cannot be encoded, without its values."""
    if isinstance(error, OverflowError):
        return "an integer of more than 64 bits, or a time outside the years 1 to 9999 in UTC"
    if isinstance(error, InvalidDocument) and "NULL byte" in str(error):
        return "a key holds the character NUL"
    return f"cannot be encoded as BSON ({type(error).__name__})"


def _is_deeper(fields: dict[str, Any]) -> bool:
    level: list[Any] = [fields]
    for _ in range(MAX_DEPTH):
        level = [
            member
            for value in level
            for member in _members(value)
            if isinstance(member, dict | list)
        ]
    return bool(level)


def _members(value: Any) -> Any:
    return value.values() if isinstance(value, dict) else value
