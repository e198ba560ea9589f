"""Frozen dead letters: used once, by any process, and how each replay went."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from buffer_trials import down, hang

from eventtracking import Event, Rejected, Tracker
from eventtracking_buffer.dead_letters import Selection
from eventtracking_testkit.fakes import FailingBackend

Options = dict[str, Any]
Track = Callable[..., Tracker]
Until = Callable[..., None]

USE = """
node = {"plugin": "buffer", "storage": "disk", "path": sys.argv[1],
    "backends": {"bad": {"plugin": "fail"}}}
tracker = Tracker.from_config({"backends": {"b": node}})
letters = tracker.routes()[1].backend.letters
if sys.argv[2] == "freeze":
    print(*letters.freeze(by="ada"))
else:
    print(letters.replay(sys.argv[2], by="bob"))
"""


def letters(tracker: Tracker) -> Any:
    return tracker.routes()[1].backend.letters


def dead(track: Track, storage: Options, until: Until, count: int) -> Tracker:
    """A buffer with dead letters."""
    FailingBackend.actions[""] = down
    tracker = track({**storage, "max_attempts": 1}, bad={"plugin": "fail"})
    for number in range(count):
        tracker.emit(f"n{number}")
    until(lambda: tracker.stats()["b"].dead_lettered == count)
    return tracker


def test_a_selection_is_used_once_and_its_end_is_told(
    storage: Options, track: Track, until: Until
) -> None:
    """Arrived or dead again: by number, with the name of who asked; later letters are not in it."""
    tracker = dead(track, storage, until, 3)
    selection, count = letters(tracker).freeze(Selection(name="n*"), by="ada")
    assert count == 3
    assert letters(tracker).history() == []
    tracker.emit("n9")
    until(lambda: tracker.stats()["b"].dead_lettered == 4)

    def take_one(events: Sequence[Event]) -> None:
        if refused := {event.id: "no" for event in events if event.name != "n1"}:
            raise Rejected(refused)

    FailingBackend.actions[""] = take_one
    assert letters(tracker).replay(selection, by="bob") == 3
    assert letters(tracker).replay(selection, by="eve") == 0
    assert letters(tracker).purge(selection, by="eve") == 0
    assert letters(tracker).replay("no such name") == 0
    until(lambda: not letters(tracker).history()[0].waiting)
    (action,) = letters(tracker).history()
    assert (action.what, action.by, action.count, action.skipped) == ("replay", "bob", 3, ())
    assert action.failed == (1, 3)
    selection, count = letters(tracker).freeze(Selection(name="n9"))
    assert letters(tracker).purge(selection) == 1
    until(lambda: tracker.stats()["b"].failed == 1)
    assert [(one.what, one.count) for one in letters(tracker).history()] == [
        ("purge", 1),
        ("replay", 3),
    ]


def test_letters_that_are_replayed_already_are_skipped(
    storage: Options, track: Track, until: Until
) -> None:
    """Those of two selections go with the first one; the second one names them."""
    tracker = dead(track, storage, until, 3)
    release = threading.Event()
    FailingBackend.actions[""] = hang(release)
    first, _ = letters(tracker).freeze(Selection(numbers=frozenset([1, 2])))
    second, _ = letters(tracker).freeze()
    assert letters(tracker).replay(first) == 2
    third, count = letters(tracker).freeze()
    assert count == 1  # those that are being replayed are left out
    assert letters(tracker).replay(second) == 1
    newest = letters(tracker).history()[0]
    assert (newest.count, newest.skipped) == (1, (1, 2))
    assert letters(tracker).replay(third) == 0
    release.set()
    until(lambda: tracker.stats()["b"].delivered == 3)
    assert all(one.failed == one.waiting == () for one in letters(tracker).history())


@pytest.mark.process
def test_one_process_freezes_another_replays(
    tmp_path: Path,
    track: Track,
    until: Until,
    program: Callable[..., subprocess.Popen[str]],
) -> None:
    """Of several that use one selection at the same time, one gets the letters."""
    path = str(tmp_path / "buffer")
    tracker = dead(track, {"storage": "disk", "path": path}, until, 5)
    name, count = program(USE, path, "freeze").communicate(timeout=60)[0].split()
    assert count == "5"
    release = threading.Event()
    FailingBackend.actions[""] = hang(release)
    users = [program(USE, path, name) for _ in range(3)]
    counts = [int(one.communicate(timeout=60)[0]) for one in users]
    assert sorted(counts) == [0, 0, 5]
    release.set()
    until(lambda: tracker.stats()["b"].delivered == 5)
    (action,) = letters(tracker).history()
    assert (action.by, action.count, action.failed) == ("bob", 5, ())


def test_what_nobody_uses_is_forgotten(
    tmp_path: Path, track: Track, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A day later; a used selection stays for the history."""
    tracker = dead(track, {"storage": "disk", "path": str(tmp_path / "buffer")}, until, 1)
    used, _ = letters(tracker).freeze()
    assert letters(tracker).replay(used, by="ada") == 1
    unused, _ = letters(tracker).freeze()
    later = 2e9 + 86_401.0
    monkeypatch.setattr("eventtracking_buffer.disk.state.selections.time.time", lambda: later)
    letters(tracker).freeze()
    assert letters(tracker).replay(unused) == 0
    assert [one.by for one in letters(tracker).history()] == ["ada"]
