"""The quickstart shows what it says it shows."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

QUICKSTART = Path(__file__).parents[2] / "examples" / "quickstart"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the example's folder, which the demo writes to."""
    return Path(
        shutil.copytree(QUICKSTART, tmp_path / "quickstart", ignore=shutil.ignore_patterns("var"))
    )


def test_the_demo(copy: Path) -> None:
    """It checks, draws, replays, counts, shows stored events, and explains, twice with the same
    result.
    """
    environ = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "COLUMNS": "120",
    }
    shown = ""
    for _ in range(2):
        done = subprocess.run(
            [copy / "demo.sh"], check=True, capture_output=True, text=True, env=environ, cwd="/"
        )
        shown = done.stdout
        assert done.stderr == ""
    assert "eventtracking.toml: ok (5 routes, 3 processors)" in shown
    assert "├── tracking_logs: logger" in shown
    rows = {
        cells[0]: [int(cell) for cell in cells[1:]]
        for cells in re.findall(r"│ (\S+) +│" + r" +(\d+) │" * 6, shown)
    }
    assert rows == {
        "(all)": [60, 55, 5, 0, 0, 0],
        "tracking_logs": [55, 55, 0, 0, 0, 0],
        "archive": [55, 55, 0, 0, 0, 0],
        "achievements": [55, 7, 48, 0, 0, 0],
        "achievements/registrar": [7, 7, 0, 0, 0, 0],
        "achievements/announcements": [7, 3, 4, 0, 0, 0],
    }
    assert "var/archive.db holds 55 events; the last 6:" in shown
    assert "var/registrar.db holds 7 events" in shown
    assert (
        "announcements: filtered out by backends.achievements.backends.announcements.processors[0]"
        in shown
    )


def test_the_sample_events() -> None:
    """Sixty of them, each whole, with ids that differ and times in order."""
    events = [
        json.loads(line)
        for line in (QUICKSTART / "events.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert len(events) == len({event["id"] for event in events}) == 60
    assert all(list(event) == ["name", "timestamp", "context", "data", "id"] for event in events)
    assert [event["timestamp"] for event in events] == sorted(
        event["timestamp"] for event in events
    )
    assert json.loads((QUICKSTART / "one_event.json").read_text(encoding="utf-8")) in events
