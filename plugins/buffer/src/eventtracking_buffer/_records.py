"""Records in a journal file: how they are written, and how they are found again, whatever happened to the file.

A record is a mark, its length, a checksum, the time and kind, and the payload. Where something else stands, the reader looks for the next
mark whose checksum is right, and reports what lies between as damaged.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Final, NamedTuple

__all__ = ["EVENT", "HEADER_BYTES", "Record", "frame", "read_records"]

EVENT: Final = 1
"""The payload is an event, as the codec writes it."""
_MARK: Final = b"\xe7\x45\x54\x1a"
_HEAD: Final = struct.Struct("<4sIIdB")
HEADER_BYTES: Final = _HEAD.size
_SUMMED: Final = struct.Struct("<dB")
_MAX_PAYLOAD_BYTES: Final = 1 << 30


class Record(NamedTuple):
    """One piece of a journal file."""

    start: int
    """Its offset in the file."""
    end: int
    kind: int
    """EVENT, or 0 for a piece that is damaged."""
    stored_at: float
    payload: bytes


def frame(payload: bytes, kind: int, stored_at: float) -> bytes:
    """Return a payload as a record."""
    checksum = zlib.crc32(payload, zlib.crc32(_SUMMED.pack(stored_at, kind)))
    return _HEAD.pack(_MARK, len(payload), checksum, stored_at, kind) + payload


def read_records(data: bytes, offset: int) -> Iterator[Record]:
    """Yield the records in a piece of a journal file. What is left over at the end was incomplete, or is damaged.

    Args:
        data: The bytes of the file from `offset` on.
        offset: Where the piece starts in the file.
    """
    at, bad_from = 0, -1
    while 0 <= at <= len(data) - HEADER_BYTES:
        record = _record_at(data, at, offset)
        if record is None:
            if bad_from < 0 and _may_be_incomplete(data, at) and _next_whole(data, at, offset) < 0:
                return
            bad_from = at if bad_from < 0 else bad_from
            at = data.find(_MARK, at + 1)
            continue
        if bad_from >= 0:
            yield Record(offset + bad_from, offset + at, 0, 0.0, data[bad_from:at])
            bad_from = -1
        yield record
        at = record.end - offset


def _record_at(data: bytes, at: int, offset: int) -> Record | None:
    mark, length, checksum, stored_at, kind = _HEAD.unpack_from(data, at)
    end = at + HEADER_BYTES + length
    if mark != _MARK or end > len(data):
        return None
    payload = data[at + HEADER_BYTES : end]
    if zlib.crc32(payload, zlib.crc32(_SUMMED.pack(stored_at, kind))) != checksum:
        return None
    return Record(offset + at, offset + end, kind, stored_at, payload)


def _may_be_incomplete(data: bytes, at: int) -> bool:
    mark, length, *_ = _HEAD.unpack_from(data, at)
    return bool(mark == _MARK and length <= _MAX_PAYLOAD_BYTES and at + HEADER_BYTES + length > len(data))


def _next_whole(data: bytes, at: int, offset: int) -> int:
    """Find the next whole record behind a place, or -1."""
    while True:
        at = data.find(_MARK, at + 1)
        if at < 0 or at > len(data) - HEADER_BYTES:
            return -1
        if _record_at(data, at, offset) is not None:
            return at
