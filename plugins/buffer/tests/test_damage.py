"""Damaged files of a buffer on disk leave the rest."""

from __future__ import annotations

import os
import random
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from buffer_trials import (
    Track,
    Until,
    down,
    figures,
)

from eventtracking import Event
from eventtracking_buffer import codec
from eventtracking_buffer.disk.journal.records import EVENT, frame
from eventtracking_buffer.disk.journal.writer import JournalWriter
from eventtracking_buffer.disk.state.connection import State
from eventtracking_testkit.fakes import FailingBackend


@pytest.fixture
def disk(tmp_path: Path) -> dict[str, Any]:
    """Return the options of a buffer on disk."""
    return {"storage": "disk", "path": str(tmp_path / "deep" / "buffer")}


def journals(disk: dict[str, Any]) -> list[Path]:
    return sorted(Path(disk["path"]).glob("*.journal"))


def fill(disk: dict[str, Any], count: int) -> None:
    """Leave so many events in the folder that no lane has read yet, as a killed process does."""
    folder = Path(disk["path"])
    folder.mkdir(parents=True)
    writer = JournalWriter(folder, synced=False)
    writer.turn()
    for number in range(count):
        writer.append(
            frame(codec.encode(Event(name="x", data={"number": number})), EVENT, time.time())
        )
    writer.close()
    FailingBackend.actions[""] = lambda events: SEEN.extend(
        event.data["number"] for event in events
    )
    SEEN.clear()


SEEN: list[int] = []


def test_a_torn_last_record_is_passed_over(
    track: Track, disk: dict[str, Any], until: Until
) -> None:
    """An event that was cut off by the death of its process was never promised; it is kept
    aside, and the rest arrives.
    """
    fill(disk, 10)
    (journal,) = journals(disk)
    os.truncate(journal, journal.stat().st_size - 7)
    tracker = track(disk, leaf={"plugin": "fail"})
    assert tracker.flush(20.0)
    assert sorted(SEEN) == list(range(9))
    until(lambda: tracker.stats()["b"].reasons == {"torn": 1})


def test_damage_in_the_middle_is_set_aside_and_counted(track: Track, disk: dict[str, Any]) -> None:
    """The event that it hit is failed; those before and behind it arrive."""
    fill(disk, 10)
    (journal,) = journals(disk)
    data = bytearray(journal.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 4] = b"!!!!"
    journal.write_bytes(data)
    tracker = track(disk, leaf={"plugin": "fail"})
    assert tracker.flush(20.0)
    assert len(SEEN) == 9
    assert figures(tracker, "b") == {"received": 10, "delivered": 9, "failed": 1}
    assert tracker.stats()["b"].reasons == {"failed: damaged on disk": 1}
    assert len(list((Path(disk["path"]) / "damaged").iterdir())) == 1


def test_any_damage_leaves_the_rest(track: Track, disk: dict[str, Any]) -> None:
    """Overwritten anywhere, with anything, the journal gives all events that were not hit."""
    fill(disk, 40)
    (journal,) = journals(disk)
    pristine = journal.read_bytes()
    draw = random.Random(7)
    for _ in range(6):
        data = bytearray(pristine)
        at, length = draw.randrange(len(data)), draw.randrange(1, 400)
        data[at : at + length] = draw.randbytes(min(length, len(data) - at))
        shutil.rmtree(disk["path"])
        journal.parent.mkdir(parents=True)
        journal.write_bytes(data)
        SEEN.clear()
        tracker = track(disk, leaf={"plugin": "fail"})
        assert tracker.flush(20.0)
        assert len(set(SEEN)) >= 40 - 2 - length // 50
        tracker.close()


def test_an_event_that_is_damaged_between_two_attempts_has_failed(
    track: Track, disk: dict[str, Any], until: Until
) -> None:
    """What had been read before, and cannot be read again after a restart, is counted and set
    aside.
    """
    FailingBackend.actions[""] = down
    tracker = track({**disk, "retry_base_s": 60.0, "retry_max_s": 60.0}, leaf={"plugin": "fail"})
    for number in range(3):
        tracker.emit("x", {"number": number})
    until(lambda: figures(tracker, "b/leaf") == {"received": 3, "pending": 3})
    tracker.close(0.0)
    (journal,) = journals(disk)
    data = bytearray(journal.read_bytes())
    data[len(data) // 2] ^= 0xFF
    journal.write_bytes(data)
    seen: list[int] = []
    FailingBackend.actions[""] = lambda events: seen.extend(
        event.data["number"] for event in events
    )
    again = track(disk, leaf={"plugin": "fail"})
    assert again.flush(20.0)
    assert sorted(seen) == [0, 2]
    assert figures(again, "b") == {"received": 3, "delivered": 2, "failed": 1}
    assert len(list((Path(disk["path"]) / "damaged").iterdir())) == 1


@pytest.mark.parametrize("damage", [b"", b"not a database at all" * 1_000, None])
def test_a_damaged_state_is_set_aside(
    track: Track, disk: dict[str, Any], damage: bytes | None
) -> None:
    """The application starts, and every event that was in the journal comes (again)."""
    fill(disk, 10)
    state = Path(disk["path"]) / "state.db"
    if damage is None:  # a real one, with all but its first page overwritten
        State(state, synced=False).close()
        data = bytearray(state.read_bytes())
        data[4_096:] = b"\xff" * (len(data) - 4_096)
        damage = bytes(data)
    state.write_bytes(damage)
    tracker = track(disk, leaf={"plugin": "fail"})
    assert tracker.flush(20.0)
    assert sorted(set(SEEN)) == list(range(10))


def test_a_foreign_file_in_the_folders_place_is_set_aside(
    track: Track, disk: dict[str, Any]
) -> None:
    """It is renamed, not deleted, and the buffer starts."""
    place = Path(disk["path"])
    place.parent.mkdir(parents=True)
    place.write_text("an old database")
    tracker = track(disk)
    tracker.emit("x")
    assert tracker.flush(20.0)
    (aside,) = place.parent.glob("buffer.damaged-*")
    assert aside.read_text() == "an old database"
