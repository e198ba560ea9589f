"""Folders that earlier versions have left are read by this one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
from buffer_trials import router

from eventtracking import DropEvent, Event, Rejected, Tracker
from eventtracking_testkit.distribution import fake_distribution

DATA = Path(__file__).parent / "data"
NAMES = ("received", "delivered", "filtered", "failed", "dead_lettered", "pending")
sent: dict[str, list[Event]] = {}


@attrs.define(eq=False)
class Takes:
    """Takes everything."""

    key: str

    def send(self, events: Any) -> None:
        """Remember the events."""
        sent.setdefault(self.key, []).extend(events)


@attrs.define(eq=False)
class Picky:
    """Takes even numbers."""

    def send(self, events: Any) -> None:
        """Refuse odd numbers."""
        bad = {e.id: "no odd numbers" for e in events if e.data.get("n", 0) % 2}
        if bad:
            raise Rejected(bad)


@attrs.define(eq=False)
class NoThirds:
    """Drops every third event."""

    def __call__(self, event: Event) -> Event:
        """Drop it."""
        if event.data.get("n", 0) % 3 == 0:
            raise DropEvent("a third")
        return event


@attrs.define(eq=False)
class Breaks:
    """Breaks at one event."""

    def __call__(self, event: Event) -> Event:
        """Break."""
        if event.name == "broken":
            raise ValueError("x")
        return event


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a copy of the folder of version 0.1.0: retries, dead letters, a half-finished group,
    an event of it damaged.
    """
    copy = tmp_path / "buffer"
    shutil.copytree(DATA / "v0.1.0", copy)
    copy.chmod(0o700)
    return copy


def test_a_folder_of_version_0_1_0(folder: Path, until: Callable[..., None]) -> None:
    """What waited is delivered, what was damaged has failed, dead letters are replayed, and the
    counts go on from where they were.
    """
    sent.clear()
    before = json.loads((folder / "counts.json").read_text())
    group = {
        "processors": [{"plugin": "nothirds"}],
        "backends": {"picky": {"plugin": "picky"}, "away": {"plugin": "takes", "key": "away"}},
    }
    broken = {
        "processors": [{"plugin": "breaks"}],
        "backends": {"picky": {"plugin": "picky"}, "good": {"plugin": "takes", "key": "bg"}},
    }
    backends = {"good": {"plugin": "takes", "key": "good"}, "group": group, "broken": broken}
    options = {"plugin": "buffer", "storage": "disk", "path": str(folder), "max_batch_age_s": 0.01}
    plugins = {"takes": Takes, "picky": Picky, "nothirds": NoThirds, "breaks": Breaks}
    with fake_distribution(plugins=plugins):
        tracker = Tracker.from_config({"backends": {"b": {**options, "backends": backends}}})
        assert tracker.flush(10)
        stats = tracker.stats()
        assert all(counts.balanced for counts in stats.values()), stats
        assert stats["b"].pending == 0
        assert stats["b"].received == before["b"]["received"]
        assert sorted(e.data["n"] for e in sent["away"]) == [1, 2, 4, 7, 8, 10, 11]  # 5 is damaged
        event = next(e for e in sent["away"] if e.data["n"] == 1)
        assert (event.data["big"], event.data["odd"], event.extra) == (1 << 80, "\ud800", {"e": 1})
        away = stats["b/group/away"]
        assert (away.received, away.delivered, away.failed) == (8, 7, 1)
        assert stats["b/good"].delivered == 12
        assert len(router(tracker).letters.list()) == 9
        letters = router(tracker).letters
        assert letters.replay(letters.freeze()[0]) == 9
        until(lambda: not any(letter.replaying for letter in letters.list()))
        after = tracker.stats()
        for path in ("b", "b/group", "b/broken", "b/broken/picky", "b/group/picky"):
            assert [getattr(after[path], name) for name in NAMES] == [
                getattr(stats[path], name) for name in NAMES
            ]
        tracker.close(5)


@pytest.mark.timeout(180)
def test_limits_that_a_folder_exceeds_destroy_nothing(
    folder: Path, until: Callable[..., None]
) -> None:
    """A folder of version 0.1.0 holds more than the new limits allow: its events are delivered or
    told, and its dead letters stay until they are purged.
    """
    before = json.loads((folder / "counts.json").read_text())["b"]
    options = {"plugin": "buffer", "storage": "disk", "path": str(folder), "max_batch_age_s": 0.01}
    limits = {"max_events": 1, "max_bytes": 1_000, "max_dead_letters": 1}
    picky = {"picky": {"plugin": "picky"}, "away": {"plugin": "takes", "key": "away"}}
    group = {"processors": [{"plugin": "nothirds"}], "backends": picky}
    broken = {"backends": {"picky": {"plugin": "picky"}}}
    backends = {"group": group, "broken": broken, "good": {"plugin": "takes", "key": "good"}}
    with fake_distribution(plugins={"takes": Takes, "picky": Picky, "nothirds": NoThirds}):
        node = {**options, **limits, "backends": backends}
        tracker = Tracker.from_config({"backends": {"b": node}})
        letters = tracker._tree.routes["b"].backend.letters
        old = {letter.number for letter in letters.list()}
        assert before["dead_lettered"] == 2 <= len(old)
        assert tracker.flush(60)
        for _ in range(2):
            tracker.emit("new", {"n": 1})
            assert tracker.flush(60)
        until(lambda: len(letters.list()) == len(old) + 1, 60.0)  # of the new ones, one is kept
        assert old < {letter.number for letter in letters.list()}
        counts = tracker.stats()["b"]
        assert (counts.received, counts.pending) == (before["received"] + 2, 0)
        assert letters.purge(letters.freeze()[0]) == len(old) + 1
        until(lambda: not letters.list(), 60.0)
        assert all(counts.balanced for counts in tracker.stats().values())
        tracker.close(5)
