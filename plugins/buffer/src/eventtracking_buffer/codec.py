"""The stored form of an event: versioned, lossless for what an event may hold, and neither pickle
nor code.

Most events hold nothing but what msgpack has words for, and are encoded in one step. In the others,
each value that msgpack would change (a date, a UUID, a time with an offset, a number of more than
64 bits, text with lone surrogates) travels as an extension type. Tuples become lists.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timezone
from typing import Any, Final

import msgspec

from eventtracking import Event
from eventtracking.errors import EventTrackingError

__all__ = ["VERSION", "FormatError", "decode", "encode", "encode_exactly"]

VERSION: Final = 1
"""The first byte of everything that `encode` returns.

It grows when older code could not read the rest.
"""

_UTC: Final = timezone.utc
_MARK: Final = bytes([VERSION])
_HEAP_TYPE: Final = 1 << 9


def _genuine(kind: type) -> Any:
    """Return the built-in class where a library that freezes time has put its own."""
    return next((base for base in kind.__mro__ if not base.__flags__ & _HEAP_TYPE), kind)


_CLASSES: Final[tuple[Any, ...]] = tuple(
    map(_genuine, (datetime, date))
)  # in a tuple no such library replaces them
_SCALARS: Final = frozenset([str, int, float, bool, type(None), bytes])
_MAX_DEPTH: Final = 400
"""Twice what core's snapshot lets through; deeper is what a processor has made, and is cut by
`Event.to_dict`.
"""

_OTHER, _LIKE, _EQUAL = range(3)
_DATETIME, _DATE, _UUID, _INT, _TEXT, _PAIRS = range(1, 7)


class FormatError(EventTrackingError, ValueError):
    """Raised by `decode` for bytes that it cannot read.

    Args:
        version: The format's version, or None where the bytes are damaged.
    """

    def __init__(self, version: int | None) -> None:
        super().__init__(version)
        self.version = version

    def __str__(self) -> str:
        if self.version is None:
            return "not an event: the bytes are damaged"
        return (
            f"the event has format {self.version}, and this version of eventtracking-buffer reads"
            f" {VERSION}"
        )


def encode(event: Event) -> bytes:
    """Turn an event into bytes that `decode` turns back, types included.

    Never raises for an event.
    """
    return encode_exactly(event)[0]


def encode_exactly(event: Event) -> tuple[bytes, bool]:
    """Encode an event; tell, too, whether decoding gives an equal one, to the last type."""
    parts = [event.id, event.name, event.timestamp, event.context, event.data, event.extra]
    try:
        likeness = _likeness(parts, 0)
        if likeness:
            return _MARK + _encode(parts), likeness == _EQUAL and _is_readable(parts)
    except (
        ValueError,
        OverflowError,
        RecursionError,
    ):  # lone surrogates, big numbers, a processor's cycle
        pass
    try:
        if all(map(_has_text_keys, parts[3:])):  # else it could not be read back
            return _MARK + _encode(_tagged(parts, 0)), False
    except (ValueError, TypeError, OverflowError, RecursionError):
        pass
    return _MARK + _encode(_tagged(_mended(event), 0)), False


def decode(payload: bytes | bytearray | memoryview) -> Event:
    """Turn what `encode` returned back into the event.

    Raises:
        FormatError: If the format is of another version, or the bytes are damaged.
    """
    version = payload[0] if len(payload) else None
    if version != VERSION:
        raise FormatError(version)
    try:
        parts = _decode_parts(memoryview(payload)[1:])
    except Exception as error:
        raise FormatError(None) from error
    event_id, name, timestamp, context, data, extra = parts
    return Event(
        id=event_id, name=name, timestamp=timestamp, context=context, data=data, extra=extra
    )


def _decode_parts(payload: memoryview) -> _Parts:
    """Decode and check the type of each part: a file may hold bytes that `encode` never wrote.

    Raises:
        Exception: If they are no event.
    """
    try:
        parts = _decode_plain(payload)
    except msgspec.ValidationError:  # an id, a name or a key that travels as an extension type
        parts = _decode(payload)
    if not _is_readable(parts):
        raise ValueError
    return parts


def _is_readable(parts: Sequence[Any]) -> bool:
    """Check what each part must be."""
    event_id, name, timestamp, context, data, extra = parts
    return (
        event_id.__class__ is name.__class__ is str
        and bool(event_id and name)
        and timestamp.__class__ is _CLASSES[0]
        and timestamp.tzinfo is not None
        and context.__class__ is data.__class__ is extra.__class__ is dict
        and all(map(_has_text_keys, (context, data, extra)))
    )


def _mended(event: Event) -> list[Any]:
    """The parts of an event whose processors have put in what no event may hold."""
    document = event.to_dict()
    parts = [document.pop(key) for key in ("id", "name", "timestamp", "context", "data")]
    return [*parts, document]


def _likeness(value: Any, depth: int) -> int:
    """Tell how msgpack keeps a container: not at all, with lists for tuples, or as it is."""
    if depth > _MAX_DEPTH:
        raise RecursionError
    if value.__class__ is dict and not _has_text_keys(value):
        return _OTHER
    found = _EQUAL
    for member in value.values() if value.__class__ is dict else value:
        kind = member.__class__
        if kind is str or kind is int or kind is float:
            continue
        if kind is dict or kind is list or kind is tuple:
            inner = _likeness(member, depth + 1)
            if inner is _OTHER:
                return _OTHER
            if inner is _LIKE or kind is tuple:
                found = _LIKE
        elif kind is _CLASSES[0] and member.tzinfo is _UTC:
            if member.fold:
                found = _LIKE
        elif kind not in _SCALARS:
            return _OTHER
    return found


def _has_text_keys(value: Any) -> bool:
    for key in value:  # noqa: SIM110 - quicker than all()
        if key.__class__ is not str:
            return False
    return True


def _tagged(value: Any, depth: int) -> Any:
    """Copy a value, with extension types for what msgpack would change."""
    if depth > _MAX_DEPTH:
        raise RecursionError
    if isinstance(value, Mapping):
        return _tagged_pairs(
            [(_tagged(key, depth), _tagged(item, depth + 1)) for key, item in value.items()]
        )
    if isinstance(value, list | tuple):
        return [_tagged(item, depth + 1) for item in value]
    tag = _TAGS.get(value.__class__)
    if tag is not None:
        return tag(value)
    if value.__class__ in _SCALARS:
        return value
    if isinstance(value, _CLASSES):
        return _tagged(_as_genuine(value), depth)
    raise TypeError(value.__class__.__name__)


def _as_genuine(value: Any) -> Any:
    """Turn an instance of a subclass of date or datetime into one of the class itself."""
    if not isinstance(value, _CLASSES[0]):
        return _CLASSES[1](value.year, value.month, value.day)
    return _CLASSES[0](
        *value.timetuple()[:6], value.microsecond, tzinfo=value.tzinfo, fold=value.fold
    )


def _tagged_pairs(pairs: list[tuple[Any, Any]]) -> Any:
    if not any(isinstance(key, msgspec.msgpack.Ext) for key, _ in pairs):
        return dict(pairs)
    return msgspec.msgpack.Ext(_PAIRS, _encode(pairs))


def _tag_datetime(value: datetime) -> Any:
    if value.tzinfo is _UTC:
        return value
    return msgspec.msgpack.Ext(_DATETIME, f"{value.fold}{value.isoformat()}".encode())


def _tag_int(value: int) -> Any:
    if -(1 << 63) <= value < 1 << 64:
        return value
    return msgspec.msgpack.Ext(
        _INT, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True)
    )


def _tag_text(value: str) -> Any:
    try:
        value.encode()
    except UnicodeEncodeError:
        return msgspec.msgpack.Ext(_TEXT, value.encode("utf-8", "surrogatepass"))
    return value


_TAGS: Final[Mapping[type, Callable[[Any], Any]]] = {
    str: _tag_text,
    int: _tag_int,
    _CLASSES[0]: _tag_datetime,
    _CLASSES[1]: lambda value: msgspec.msgpack.Ext(_DATE, value.isoformat().encode()),
    uuid.UUID: lambda value: msgspec.msgpack.Ext(_UUID, value.bytes),
}


def _untag(code: int, data: memoryview) -> Any:
    return _UNTAGS[code](bytes(data))


_UNTAGS: Final[Mapping[int, Callable[[bytes], Any]]] = {
    _DATETIME: lambda data: (
        _CLASSES[0].fromisoformat(data[1:].decode()).replace(fold=int(data[:1]))
    ),
    _DATE: lambda data: _CLASSES[1].fromisoformat(data.decode()),
    _UUID: lambda data: uuid.UUID(bytes=data),
    _INT: lambda data: int.from_bytes(data, "big", signed=True),
    _TEXT: lambda data: data.decode("utf-8", "surrogatepass"),
    _PAIRS: lambda data: dict(_decode(data)),
}
_encode: Callable[[Any], bytes] = msgspec.msgpack.Encoder().encode
_Parts = tuple[str, str, datetime, dict[Any, Any], dict[Any, Any], dict[Any, Any]]
_decode_plain: Callable[[Any], _Parts] = msgspec.msgpack.Decoder(_Parts, ext_hook=_untag).decode
_decode: Callable[[Any], Any] = msgspec.msgpack.Decoder(ext_hook=_untag).decode
