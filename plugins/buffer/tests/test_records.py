"""Records of the journal, and reasons, that are forged, damaged, cut or just being written."""

from __future__ import annotations

import errno
import os
import resource
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from buffer_trials import (
    Options,
    Track,
    Until,
    figures,
    router,
)

from eventtracking import Event, Rejected
from eventtracking_buffer import codec
from eventtracking_buffer.disk.journal.reader import JournalReader
from eventtracking_buffer.disk.journal.records import EVENT, frame, read_records
from eventtracking_buffer.disk.journal.writer import JournalWriter
from eventtracking_testkit.fakes import FailingBackend, RecordingBackend


class Hostile:
    """A reason that is no text."""

    def __str__(self) -> str:
        raise ValueError


@pytest.mark.parametrize(
    ("reason", "stored"),
    [
        ({"code": 1}, "no reason given"),
        ("caf\udcc3", "caf\\udcc3"),
        ("a" * 5_000, "a" * 1_000),
        (Hostile(), "no reason given"),
    ],
    ids=["no text", "a lone surrogate", "too long", "hostile"],
)
def test_any_reason_is_stored_as_text(
    storage: Options, track: Track, until: Until, reason: Any, stored: str
) -> None:
    """For each odd reason of a backend, its dead letter is written, and the events behind it
    go on.
    """

    def judge(events: Sequence[Event]) -> None:
        bad = {event.id: reason for event in events if event.name == "bad"}
        if bad:
            raise Rejected(bad)

    FailingBackend.actions[""] = judge
    tracker = track(storage, p={"plugin": "fail"})
    tracker.emit("bad")
    until(router(tracker).letters.list)
    tracker.emit("good")
    assert tracker.flush(20.0)
    assert [letter.reason for letter in router(tracker).letters.list()] == [stored]
    assert figures(tracker) == {"received": 2, "delivered": 1, "dead_lettered": 1}


def test_a_backend_that_ends_its_thread_takes_no_other_event_with_it(
    storage: Options, track: Track
) -> None:
    """While events on their last attempt travel alone, SystemExit for one of them leaves the rest
    in the lane.
    """

    def leave(events: Sequence[Event]) -> None:
        if any(event.name == "bad" for event in events):
            raise SystemExit

    FailingBackend.actions[""] = leave
    tracker = track({**storage, "max_attempts": 2, "max_batch_age_s": 0.2}, p={"plugin": "fail"})
    for name in ("bad", "good", "good"):
        tracker.emit(name)
    assert tracker.flush(20.0)
    assert figures(tracker) == {"received": 3, "delivered": 2, "dead_lettered": 1}


def forgery() -> bytes:
    return frame(codec.encode(Event(name="forged")), EVENT, time.time())


@pytest.mark.parametrize("size", [10, 600_000])
def test_bytes_inside_an_event_are_never_read_as_one(
    track: Track, disk: Options, size: int
) -> None:
    """An event that holds the bytes of a record arrives itself, however long it is, and what it
    holds does not.
    """
    tracker = track(disk)
    blob = forgery() + os.urandom(size)
    tracker.emit("real", {"blob": blob})
    assert tracker.flush(20.0)
    assert [(event.name, event.data["blob"]) for event in RecordingBackend.recorded[""]] == [
        ("real", blob)
    ]
    assert figures(tracker) == {"received": 1, "delivered": 1}


def test_bytes_inside_a_damaged_event_are_not_read_either() -> None:
    """Where a checksum is wrong and the length can be right, reading goes on behind the record."""
    damaged = bytearray(frame(forgery() + b"a" * 10, EVENT, 1.0))
    damaged[-1] ^= 0xFF
    good = frame(b"good", EVENT, 1.0)
    found = list(read_records(bytes(damaged) + good, 0))
    assert [(record.kind, record.payload) for record in found] == [
        (0, bytes(damaged)),
        (EVENT, b"good"),
    ]


def test_a_damaged_last_record_is_told_from_a_torn_one() -> None:
    """One that is whole was promised, and counts; one that was cut off was not."""
    data = bytearray(frame(b"payload", EVENT, 1.0))
    assert list(read_records(bytes(data[:-1]), 0)) == []
    data[-1] ^= 0xFF
    assert [record.kind for record in read_records(bytes(data), 0)] == [0]


def test_a_record_is_waited_for_while_it_is_written(tmp_path: Path) -> None:
    """The visible part of a record that is being appended is not searched for others; once nobody
    writes, it is.
    """
    writer = JournalWriter(tmp_path, synced=False)
    writer.turn()
    whole = frame(forgery() * 2, EVENT, 1.0)
    writer.append(whole[:-5])
    reader = JournalReader(tmp_path / writer.name)
    assert list(reader.read()) == []
    writer.close()
    found = next(reader.read())
    assert (found.kind, found.payload) == (0, whole[:21])


def test_a_passing_error_says_nothing_about_a_record(tmp_path: Path) -> None:
    """Without a free descriptor, reading a record again raises; None means that it is damaged or
    gone.
    """
    writer = JournalWriter(tmp_path, synced=False)
    writer.turn()
    writer.append(frame(b"payload", EVENT, 1.0))
    reader = JournalReader(tmp_path / writer.name)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    probe = os.open(tmp_path, os.O_RDONLY)
    os.close(probe)
    resource.setrlimit(resource.RLIMIT_NOFILE, (probe, hard))
    try:
        with pytest.raises(OSError, match=os.strerror(errno.EMFILE)):
            reader.record_at(0)
        with pytest.raises(OSError, match=os.strerror(errno.EMFILE)):
            next(reader.read())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    found = reader.record_at(0)
    assert found is not None
    assert found.payload == b"payload"
    writer.close()
    reader.path.unlink()
    assert reader.record_at(0) is None
