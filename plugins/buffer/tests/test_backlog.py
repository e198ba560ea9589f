"""A process that starts over a large backlog on disk: its emits, and how the backlog is counted."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from eventtracking import Event, Tracker
from eventtracking_buffer import codec
from eventtracking_buffer.disk.journal.reader import JournalReader
from eventtracking_buffer.disk.journal.records import EVENT, count_events, frame, read_records
from eventtracking_buffer.disk.journal.writer import delete_unfinished
from eventtracking_testkit.fakes import RecordingBackend

Track = Callable[..., Tracker]


def test_the_first_emits_do_not_wait_for_the_take_over(
    track: Track, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a process takes a backlog over, the first emits of four threads return, and arrive."""
    begun, go_on = threading.Event(), threading.Event()

    def slow(folder: Path) -> None:
        begun.set()
        assert go_on.wait(20.0)
        delete_unfinished(folder)

    # The first step of the take-over.
    monkeypatch.setattr("eventtracking_buffer.disk.takeover.delete_unfinished", slow)
    tracker = track({"storage": "disk", "path": str(tmp_path / "buffer")})
    tracker.open()
    assert begun.wait(20.0)
    threads = [threading.Thread(target=tracker.emit, args=(f"x{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20.0)
    waiting = [thread for thread in threads if thread.is_alive()]
    go_on.set()
    assert waiting == []
    assert tracker.flush(20.0)
    names = sorted(event.name for event in RecordingBackend.recorded[""])
    assert names == ["x0", "x1", "x2", "x3"]


def test_counting_agrees_with_reading(tmp_path: Path) -> None:
    """Damaged anywhere, cut, or followed by records of another kind, a file has as many events
    when they are counted as when they are read.
    """
    rng = random.Random(2)
    sound = [frame(codec.encode(Event(name="x" * n)), EVENT, float(n)) for n in range(1, 40)]
    path = tmp_path / "a.journal"
    for number in range(200):
        records = [*sound, frame(b"later", 2, 0.0), frame(codec.encode(Event(name="z")), EVENT, 0)]
        data = bytearray(b"".join(records))
        for _ in range(number % 4):
            at = rng.randrange(len(data))
            data[at : at + rng.randrange(30)] = rng.randbytes(rng.randrange(30))
        path.write_bytes(data[: rng.randrange(len(data))] if number % 3 else data)
        read, counted = JournalReader(path), JournalReader(path)
        for record in read.read():
            read.advance(record)
        counted.count()
        assert (counted.offset, counted.records) == (read.offset, read.records)


def test_a_sound_backlog_is_counted_without_reading_its_events() -> None:
    """A piece of a sound file is counted whole: the slow way has nothing left to read."""
    data = b"".join(frame(codec.encode(Event(name="x")), EVENT, 1.0) for _ in range(100))
    assert count_events(data) == (100, len(data))
    assert count_events(data[:-1])[0] == 99
    assert len(list(read_records(data, 0))) == 100
