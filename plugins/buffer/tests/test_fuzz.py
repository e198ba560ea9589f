"""Journals full of damage, made at random: no crash, no hang, and the law holds."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from eventtracking import Event, Tracker
from eventtracking_buffer import codec
from eventtracking_buffer.disk.journal.records import EVENT, HEADER_BYTES, frame
from eventtracking_testkit.fakes import RecordingBackend

Track = Callable[..., Tracker]
_RECORDS: Final = 1_000
"""In each journal; about nine of ten are damaged."""
_HOSTILE: Final[tuple[Any, ...]] = (
    None,
    [],
    {},
    [[]] * 6,
    ["id", "name", 0, {}, {}, {}],
    ["", "", msgspec.msgpack.Ext(1, b"0"), {}, {}, {}],
    [1, 2, 3, 4, 5, 6, 7],
    ["id", "name", msgspec.msgpack.Ext(-1, b"\x00" * 4), {1: 2}, {None: 3}, {b"": []}],
    ["id", msgspec.msgpack.Ext(5, b"\xff"), msgspec.msgpack.Ext(-1, b"\0" * 4), {}, {}, {}],
)


def _bytes(draw: random.Random) -> bytes:
    return draw.randbytes(draw.randrange(200))


def _flip(draw: random.Random, record: bytearray) -> bytes | bytearray:
    record[draw.randrange(len(record))] ^= 1 << draw.randrange(8)
    return record


def _cut(draw: random.Random, record: bytearray) -> bytes | bytearray:
    return record[: draw.randrange(len(record))]


def _overwrite(draw: random.Random, record: bytearray) -> bytes | bytearray:
    at = draw.randrange(len(record))
    record[at : at + draw.randrange(1, 60)] = _bytes(draw)
    return record


def _lengthen(draw: random.Random, record: bytearray) -> bytes | bytearray:
    """Claim another length: one that ends at no record, for such a one would be believed."""
    length = draw.choice([0, 1, 1 << 25, 1 << 26, (1 << 26) + 1, (1 << 32) - 1])
    record[4:8] = struct.pack("<I", length)
    return record


def _forge(draw: random.Random, record: bytearray) -> bytes | bytearray:
    """Frame what no encoder wrote, with a sound checksum."""
    body = msgspec.msgpack.encode(draw.choice(_HOSTILE))
    payload = draw.choice([b"\x01" + body, b"\x02" + body, body, b"", b"\x01" + _bytes(draw)])
    moment = draw.choice([0.0, -1.0, 1e300, float("nan"), float("inf"), 1.7e9])
    return frame(payload, draw.choice([EVENT, EVENT, 0, 2, 255]), moment)


def _scramble(draw: random.Random, record: bytearray) -> bytes | bytearray:
    """Damage the payload, with a sound checksum."""
    return frame(bytes(_flip(draw, record[HEADER_BYTES:])), EVENT, 1.7e9)


_DAMAGES: Final = (_flip, _cut, _overwrite, _lengthen, _forge, _scramble)


def _damaged_journal(draw: random.Random) -> tuple[bytes, set[str]]:
    """Make a journal; return the names of the events in it that are whole, too."""
    pieces: list[bytes | bytearray] = []
    whole = set()
    for number in range(_RECORDS):
        name = f"whole.{number}"
        data = {"text": "x" * draw.randrange(100), "list": [number]}
        record = frame(codec.encode(Event(name=name, data=data)), EVENT, 1.7e9)
        if draw.random() < 0.1:
            whole.add(name)
            pieces.append(record)
        else:
            pieces.append(draw.choice(_DAMAGES)(draw, bytearray(record)))
    return b"".join(pieces), whole


def _try(track: Track, folder: Path, seed: int) -> None:
    draw = random.Random(seed)
    data, whole = _damaged_journal(draw)
    folder.mkdir(mode=0o700)
    half = draw.randrange(len(data)) if draw.random() < 0.3 else len(data)
    (folder / "0.journal").write_bytes(data[:half])
    (folder / "1.journal").write_bytes(data[half:])
    RecordingBackend.forget()
    lanes = {f"p{n}": {"plugin": "rec", "key": f"p{n}"} for n in range(draw.choice([1, 1, 2]))}
    tracker = track({"storage": "disk", "path": str(folder)}, **lanes)
    assert tracker.flush(60.0), seed
    stats = tracker.stats()
    assert all(counts.balanced for counts in stats.values()), (seed, stats)
    assert stats["b"].pending == 0, seed
    cut = 0 if half == len(data) else 1  # the one at the seam between the files
    for key in lanes:
        arrived = {event.name for event in RecordingBackend.recorded[key]}
        assert len(whole - arrived) <= cut, (seed, whole - arrived)
    tracker.emit("after")
    assert tracker.flush(60.0), seed
    tracker.close()


def test_damaged_records(track: Track, tmp_path: Path) -> None:
    """Three journals of a thousand records, most of them damaged: each whole event arrives, every
    other one is counted, and the buffer goes on.
    """
    for seed in range(3):
        _try(track, tmp_path / str(seed), seed)


@pytest.mark.fuzz
def test_a_hundred_thousand_damaged_records(track: Track, tmp_path: Path) -> None:
    """The same with a hundred other journals."""
    for seed in range(1_000, 1_112):
        _try(track, tmp_path / str(seed), seed)
