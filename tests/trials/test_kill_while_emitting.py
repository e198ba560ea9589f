"""Processes are killed at random moments while they emit into a buffer on disk."""

from __future__ import annotations

import json
import random
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from trial_emitter import MAX_EVENTS, data_of
from trial_tools import SITE, disk_buffer, kill, program, wait_for

from eventtracking import Tracker

pytestmark = pytest.mark.needs("sqlite")

LONGEST_S = 0.3


@pytest.mark.timeout(180)
@pytest.mark.process
@pytest.mark.parametrize("times", [20, pytest.param(200, marks=pytest.mark.soak)])
def test_what_was_emitted_arrives_once_and_unaltered(tmp_path: Path, times: int) -> None:
    """After every `kill -9`, each event whose `emit()` returned is in the store, once, as
    it was.
    """
    node = disk_buffer(
        tmp_path / "buffer", {"store": {"plugin": "sqlite", "path": str(tmp_path / "store.db")}}
    )
    dice = random.Random(times)
    for round_number in range(times):
        emit_until_killed(node, tmp_path, round_number * MAX_EVENTS, dice.uniform(0, LONGEST_S))
    noted = numbers_in(tmp_path / "notes")
    with Tracker.from_config({"backends": {"kept": node}}) as tracker:
        assert tracker.flush(120)
        counts = tracker.stats()["kept"]
        assert counts.balanced
        assert counts.pending == counts.failed == counts.dead_lettered == 0, counts
    check_store(tmp_path / "store.db", noted)
    assert counts.delivered >= len(noted) > times


def emit_until_killed(node: dict[str, Any], folder: Path, first: int, after_s: float) -> None:
    notes = folder / "notes"
    before = notes.stat().st_size if notes.exists() else 0
    command = (SITE / "trial_emitter.py", json.dumps(node), notes, str(first))
    with program(command, folder / "log") as emitter:
        wait_for(lambda: notes.exists() and notes.stat().st_size > before, "the first event")
        time.sleep(after_s)
        assert emitter.poll() is None, (folder / "log").read_text()
        kill(emitter)


def numbers_in(notes: Path) -> set[int]:
    """The events whose `emit()` returned; a last line without its end was cut off."""
    return {
        int(line) for line in notes.read_text().splitlines(keepends=True) if line.endswith("\n")
    }


def check_store(path: Path, noted: set[int]) -> None:
    """Compare every row with what was emitted.

    One event may have been stored whose `emit()` was cut off at its very end.
    """
    found: set[int] = set()
    with closing(sqlite3.connect(path)) as store:
        for event_id, name, data in store.execute("SELECT id, name, data FROM events"):
            number = json.loads(data)["n"]
            assert number not in found, f"stored twice: {number}"
            found.add(number)
            assert name == "trial.kept"
            assert json.loads(data) == json.loads(msgspec.json.encode(data_of(number))), event_id
    assert not noted - found, f"{len(noted - found)} events are lost, such as {min(noted - found)}"
