"""Records in a journal file: how they are written, and how they are found again, whatever happened
to the file.

A record is a mark, its length, a checksum, the time and kind, and the payload. Where its checksum
is wrong, three rules follow one another:

1. The checksum is right for another length, up to one of the next marks: only the length is false.
2. Another record starts where this one claims to end: only this one is damaged.
3. Nothing does: the reader looks for the next mark whose checksum is right.

The bytes in between are reported as damaged, and `count_damaged` counts the events in them.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

__all__ = [
    "EVENT",
    "HEADER_BYTES",
    "MAX_PAYLOAD_BYTES",
    "Record",
    "claimed_bytes",
    "count_damaged",
    "count_events",
    "frame",
    "read_records",
]

EVENT: Final = 1
"""The payload is an event, as the codec writes it."""
_MARK: Final = b"\xe7\x45\x54\x1a"
_HEAD: Final = struct.Struct("<4sIIdB")
HEADER_BYTES: Final = _HEAD.size
_SUMMED: Final = struct.Struct("<dB")
_SUMMED_FROM: Final = _HEAD.size - _SUMMED.size
"""Where the bytes begin that the checksum covers: the time, the kind and the payload."""
MAX_PAYLOAD_BYTES: Final = 64 << 20
"""Maximum size of one event. A larger length in a file is damage, and is never read at once."""
_MAX_MOMENT: Final = 1e11
_MARKS_TRIED: Final = 16
"""Ends to try for a record whose length may be false. The first is right, unless the event itself
holds marks; the limit bounds the time that such an event takes.
"""
_CHECKED_TIMES: Final = 8
"""How often the bytes of a damaged piece are summed up, at most, in search of whole records."""


class Record(NamedTuple):
    """One piece of a journal file."""

    start: int
    """Its offset in the file."""
    end: int
    kind: int
    """EVENT, or 0 for a piece that is damaged."""
    stored_at: float
    payload: bytes

    @property
    def is_whole(self) -> bool:
        """Whether its checksum was right. A damaged piece has its header in the payload."""
        return len(self.payload) < self.end - self.start


def frame(payload: bytes, kind: int, stored_at: float) -> bytes:
    """Return a payload as a record."""
    checksum = zlib.crc32(payload, zlib.crc32(_SUMMED.pack(stored_at, kind)))
    return _HEAD.pack(_MARK, len(payload), checksum, stored_at, kind) + payload


def read_records(
    data: bytes,
    offset: int,
    file_bytes: int | None = None,
    is_settled: Callable[[], bool] = lambda: True,
) -> Iterator[Record]:
    """Yield the records in a piece of a journal file. What is left over at the end is incomplete.

    A length that can be true is believed before anything is looked for in between: the payload may
    hold the bytes of a record.

    Args:
        data: The bytes of the file from `offset` on.
        offset: Where the piece starts in the file.
        file_bytes: The length of the file, if there may be more behind the piece.
        is_settled: Whether the end of the file is not just being written. Asked if a record is
            longer than the file.
    """
    size = len(data)
    beyond = 0 if file_bytes is None else max(file_bytes - offset - size, 0)
    at, bad_from = 0, -1
    while 0 <= at <= size - HEADER_BYTES:
        record = _record_at(data, at, offset) or _with_another_length(data, at, offset, beyond)
        if record is None:
            end = _claimed_end(data, at)
            if _needs_more(size, beyond, end) or (end > size and not is_settled()):
                if bad_from >= 0:  # this one is judged later; the bytes before it are damaged
                    yield _damaged(data, offset, bad_from, at)
                return
            bad_from, last = at if bad_from < 0 else bad_from, at
            believed = at < end <= size and _MARK.startswith(data[end : end + 4])
            at = end if believed else data.find(_MARK, at + 1)
            if at < 0 and beyond and size - bad_from > HEADER_BYTES:  # a mark may begin at the end
                yield _damaged(data, offset, bad_from, size - len(_MARK))
            elif at < 0 and bad_from < last:  # the last one was cut off; those before it were not
                yield _damaged(data, offset, bad_from, last)
            continue
        if bad_from >= 0:
            yield _damaged(data, offset, bad_from, at)
            bad_from = -1
        yield record
        at = record.end - offset
    if bad_from >= 0 and at >= 0 and beyond:  # a mark without the rest of its header
        yield _damaged(data, offset, bad_from, at)
    elif bad_from >= 0 and at == size and is_settled():  # the last one is whole, and damaged
        yield _damaged(data, offset, bad_from, size)


def count_events(data: bytes) -> tuple[int, int]:
    """Count the events at the beginning of a piece; return how many, and how long they are.

    It stops before the first record that is incomplete, damaged or no event: `read_records` judges
    that one. This is the same check at a tenth of the cost, for a backlog that is only counted.
    """
    view, count, at = memoryview(data), 0, 0
    last = len(data) - HEADER_BYTES
    while at <= last:
        mark, length, checksum, _, kind = _HEAD.unpack_from(data, at)
        end = at + HEADER_BYTES + length
        if mark != _MARK or kind != EVENT or end > len(data):
            break
        if zlib.crc32(view[at + _SUMMED_FROM : end]) != checksum:
            break
        count, at = count + 1, end
    return count, at


def count_damaged(piece: bytes, goes_on: bool = False) -> int:
    """Count the events in a damaged piece, so that each one is counted as lost.

    Each mark is one that does not lie inside a whole record, and so are the bytes before the first
    mark. An event that holds marks itself counts too often: better than one that is lost unseen.

    Args:
        goes_on: Whether the bytes before the first mark belong to a piece that was counted.
    """
    at = piece.find(_MARK)
    count = int(at != 0 and not goes_on)
    left = _CHECKED_TIMES * len(piece)
    while 0 <= at <= len(piece) - HEADER_BYTES:
        end = _claimed_end(piece, at)
        if 0 < end <= len(piece) and left > 0:
            left -= end - at
            if _record_at(piece, at, 0):
                count, at = count + 1, piece.find(_MARK, end)
                continue
        count, at = count + 1, piece.find(_MARK, at + 1)
    return count


def claimed_bytes(data: bytes) -> int:
    """Return how many bytes of the file judge the record that starts here; 0 if none does."""
    end = _claimed_end(data, 0) if len(data) >= HEADER_BYTES else -1
    return end + len(_MARK) if end > 0 else 0


def _claimed_end(data: bytes, at: int) -> int:
    """Where the record at a place would end, going by its header; -1 if that is none."""
    mark, length, *_ = _HEAD.unpack_from(data, at)
    return at + HEADER_BYTES + length if mark == _MARK and length <= MAX_PAYLOAD_BYTES else -1


def _needs_more(size: int, beyond: int, end: int) -> bool:
    """Whether a record, and the mark behind it, can only be judged with more of the file than a
    piece of that size.
    """
    return beyond > 0 and size < end + len(_MARK) and end <= size + beyond


def _record_at(data: bytes, at: int, offset: int) -> Record | None:
    mark, length, checksum, *_ = _HEAD.unpack_from(data, at)
    end = at + HEADER_BYTES + length
    if mark != _MARK or end > len(data):
        return None
    if zlib.crc32(memoryview(data)[at + _SUMMED_FROM : end]) != checksum:
        return None
    return _as_record(data, at, end, offset)


def _with_another_length(data: bytes, at: int, offset: int, beyond: int) -> Record | None:
    """Return the record at a place as it is if only its length is false.

    Its checksum covers an id that no sender of events knows, so bytes inside an event cannot make
    it right.
    """
    mark, _, checksum, *_ = _HEAD.unpack_from(data, at)
    if mark != _MARK:
        return None
    view, summed, summed_to = memoryview(data), 0, at + _SUMMED_FROM
    end = at + HEADER_BYTES - 1
    for _ in range(_MARKS_TRIED):
        end = data.find(_MARK, end + 1)
        if end < 0 and not beyond:
            end = len(data)
        if end < 0 or end - at > HEADER_BYTES + MAX_PAYLOAD_BYTES:
            return None
        summed, summed_to = zlib.crc32(view[summed_to:end], summed), end
        if summed == checksum:
            return _as_record(data, at, end, offset)
        if end == len(data):
            return None
    return None


def _damaged(data: bytes, offset: int, start: int, end: int) -> Record:
    return Record(offset + start, offset + end, 0, 0.0, data[start:end])


def _as_record(data: bytes, at: int, end: int, offset: int) -> Record:
    *_, stored_at, kind = _HEAD.unpack_from(data, at)
    if not 0.0 <= stored_at <= _MAX_MOMENT:  # no clock says that
        stored_at = 0.0
    return Record(offset + at, offset + end, kind, stored_at, data[at + HEADER_BYTES : end])
