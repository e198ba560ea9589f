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

pytestmark = pytest.mark.once
QUICKSTART = Path(__file__).parents[2] / "examples" / "quickstart"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the example's folder, which the demo writes to."""
    return Path(
        shutil.copytree(QUICKSTART, tmp_path / "quickstart", ignore=shutil.ignore_patterns("var"))
    )


@pytest.mark.timeout(180)
@pytest.mark.process
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
    assert "eventtracking.toml: ok (6 routes, 6 processors)" in shown
    assert "├── tracking_logs: logger" in shown
    rows = [
        (cells[0], [int(cell) for cell in cells[1:]])
        for cells in re.findall(r"│ (\S+) +│" + r" +(\d+) │" * 6, shown)
    ]
    assert rows[:7] == [  # with the records of eleven event types
        ("(all)", [71, 66, 5, 0, 0, 0]),
        ("tracking_logs", [66, 66, 0, 0, 0, 0]),
        ("durable", [66, 66, 0, 0, 0, 0]),
        ("durable/archive", [66, 66, 0, 0, 0, 0]),
        ("achievements", [66, 18, 48, 0, 0, 0]),
        ("achievements/registrar", [18, 18, 0, 0, 0, 0]),
        ("achievements/announcements", [18, 3, 15, 0, 0, 0]),
    ]
    assert dict(rows[7:])["durable/archive"] == [68, 67, 0, 0, 1, 0]
    assert "var/archive.db holds 55 events; the last 6:" in shown
    assert "var/registrar.db holds 7 events" in shown
    assert (
        "announcements: filtered out by backends.achievements.backends.announcements.processors[1]"
        in shown
    )

    check_the_catalog(shown, copy)


def check_the_catalog(shown: str, copy: Path) -> None:
    """It lists the types, documents a stored event, catches a violation, and makes pages."""
    assert "ok (11 event types)" in shown
    assert re.search(r"grade\.calculated@[0-9a-f]{16}: The grade of a learner", shown)
    assert '"schema_problems":[{"kind":"wrong_type","path":"data.percent"}]' in (
        copy / "var" / "tracking.log"
    ).read_text(encoding="utf-8")
    assert re.search(r"durable/archive\t.*\tgrade\.calculated\t.*wrong_type data\.percent", shown)
    assert "92 %" not in shown.partition("dead-letters list")[2]
    page = copy / "var" / "site" / "index.html"
    assert f"open {page}" in shown
    assert "certificate.issued" in page.read_text(encoding="utf-8")


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
