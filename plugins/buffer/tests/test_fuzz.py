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
from eventtracking_buffer.disk.journal.records import (
    EVENT,
    HEADER_BYTES,
    count_damaged,
    frame,
    read_records,
)
from eventtracking_testkit.fakes import FailingBackend, RecordingBackend

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
    """Claim another length."""
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


def _claim_neighbours(
    draw: random.Random, pieces: list[bytes | bytearray], numbers: list[int]
) -> None:
    """Let some records claim a length that ends where another one begins.

    Their true end is known by the mark behind it: one without is counted, with those that it hides.
    """
    mark = frame(b"", EVENT, 0.0)[:4]
    for number in numbers:
        if number + 1 == len(pieces) or pieces[number + 1][:4] != mark:
            continue
        upto = draw.randrange(number, min(number + 60, len(pieces)))
        length = sum(len(piece) for piece in pieces[number : upto + 1]) - HEADER_BYTES
        pieces[number] = pieces[number][:4] + struct.pack("<I", length) + pieces[number][8:]


_DAMAGES: Final = (_flip, _cut, _overwrite, _lengthen, _forge, _scramble)


def _damaged_journal(draw: random.Random) -> tuple[bytes, set[str]]:
    """Make a journal; return the names of the events that must arrive, too: those that are whole
    but for their length.
    """
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
    numbers = [int(name.removeprefix("whole.")) for name in sorted(whole)]
    _claim_neighbours(draw, pieces, draw.sample(numbers, len(numbers) // 5))
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
        # One that was cut off may claim, by chance, an end where another one starts: then those
        # in between are counted.
        hidden = whole - arrived
        assert len(hidden) <= cut + 2, (seed, hidden)
        assert stats["b"].failed >= len(hidden) - cut, (seed, hidden)
    tracker.emit("after")
    assert tracker.flush(60.0), seed
    tracker.close()


def test_damaged_records(track: Track, tmp_path: Path) -> None:
    """Three journals of a thousand records, most of them damaged: each whole event arrives, every
    other one is counted, and the buffer goes on.
    """
    for seed in range(3):
        _try(track, tmp_path / str(seed), seed)


def test_each_event_in_a_damaged_file_is_found_or_counted() -> None:
    """Whichever length a header claims, and whichever bytes of the event are wrong: each record of
    the file is read or counted, and none that is whole counts twice.
    """
    for seed in range(300):
        draw = random.Random(seed)
        records = [bytearray(frame(b"%d." % n + draw.randbytes(50), EVENT, n)) for n in range(40)]
        damaged = set(draw.sample(range(39), 10))  # with a false length, the last would be torn
        for number in damaged:
            if draw.random() < 0.7:
                upto = draw.randrange(number, 40)
                length = sum(map(len, records[number : upto + 1])) - HEADER_BYTES
                records[number][4:8] = struct.pack("<I", draw.choice([length, 3, 1 << 31]))
            records[number][draw.randrange(HEADER_BYTES, len(records[number]))] ^= 1
        found = list(read_records(b"".join(records), 0))
        read = [int(record.payload.split(b".")[0]) for record in found if record.is_whole]
        assert len(read) == len(set(read)), seed
        assert not damaged & set(read), seed
        counted = sum(count_damaged(record.payload) for record in found if not record.is_whole)
        assert len(read) + counted == 40, (seed, damaged)


def test_a_torn_record_takes_no_other_with_it() -> None:
    """A damaged record before one that was cut off was promised, and counts."""
    damaged = bytearray(frame(b"damaged", EVENT, 1.0))
    damaged[-1] ^= 1
    found = list(read_records(bytes(damaged) + frame(b"torn", EVENT, 1.0)[:-1], 0))
    assert [(record.is_whole, record.payload) for record in found] == [(False, bytes(damaged))]


def test_a_record_with_a_false_length_is_read() -> None:
    """A record whose length alone is wrong is read, and so is each one behind it."""
    for seed in range(300):
        draw = random.Random(seed)
        payloads = [draw.randbytes(draw.randrange(80)) for _ in range(30)]
        records = [bytearray(frame(payload, EVENT, 1.0)) for payload in payloads]
        for number in draw.sample(range(30), 8):
            upto = draw.randrange(number, 30)
            length = sum(map(len, records[number : upto + 1])) - HEADER_BYTES
            others = [length, 0, 1, 1 << 26, (1 << 32) - 1]
            records[number][4:8] = struct.pack("<I", draw.choice(others))
        found = list(read_records(b"".join(records), 0))
        assert [record.payload for record in found] == payloads, seed


def test_an_event_with_a_false_length_is_retried_and_counted_like_any(
    track: Track, tmp_path: Path, until: Callable[..., None]
) -> None:
    """It is delivered by the next process, too, and events that lie inside a record that is beyond
    help are counted one by one.
    """
    records = [bytearray(frame(codec.encode(Event(name=f"e{n}")), EVENT, 1.7e9)) for n in range(60)]
    records[0][4:8] = struct.pack("<I", sum(map(len, records[:10])) - HEADER_BYTES)
    records[20][4:8] = struct.pack("<I", sum(map(len, records[20:50])) - HEADER_BYTES)
    records[20][-1] ^= 1
    folder = tmp_path / "b"
    folder.mkdir(mode=0o700)
    (folder / "0.journal").write_bytes(b"".join(records))
    options = {"storage": "disk", "path": str(folder)}
    first = track(options, p={"plugin": "fail", "key": "p"})
    first.open()
    until(lambda: FailingBackend.attempts.get("p"))
    first.close(1.0)
    second = track(options, p={"plugin": "rec", "key": "p"})
    assert second.flush(60.0)
    names = {event.name for event in RecordingBackend.recorded["p"]}
    assert names == {f"e{n}" for n in (*range(20), *range(50, 60))}
    counts = second.stats()["b"]
    assert (counts.received, counts.delivered, counts.failed) == (60, 30, 30)
    second.close()


@pytest.mark.fuzz
def test_a_hundred_thousand_damaged_records(track: Track, tmp_path: Path) -> None:
    """The same with a hundred other journals."""
    for seed in range(1_000, 1_112):
        _try(track, tmp_path / str(seed), seed)
