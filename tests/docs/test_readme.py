"""The README's first example, to the letter, and the index of the documents."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

import documents
import workspace

MOST_LINES = 10


@pytest.mark.process
def test_the_ten_line_example_prints_its_events(tmp_path: Path) -> None:
    """Exactly two lines of JSON, with the five keys in order, and no more code than it says."""
    program = next(
        b.text for b in documents.blocks_of(workspace.ROOT / "README.md") if b.language == "python"
    )
    assert len([line for line in program.splitlines() if line.strip()]) <= MOST_LINES
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, cwd=tmp_path
    )
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.stderr == ""
    assert [list(event) for event in events] == [["name", "timestamp", "context", "data", "id"]] * 2
    assert [(event["name"], event["context"], event["data"]) for event in events] == [
        (
            "course.enrolled",
            {"user_id": 10938, "path": "/courses/botany"},
            {"course": "botany", "mode": "audit"},
        ),
        ("report.sent", {}, {"pages": 3}),
    ]
    times = [datetime.fromisoformat(event["timestamp"].replace("Z", "+00:00")) for event in events]
    assert datetime.now(timezone.utc) - timedelta(minutes=1) < times[0] <= times[1]
    assert list(tmp_path.iterdir()) == []


def test_the_index_has_every_page() -> None:
    """docs/README.md leads to each page under docs/; the decisions stand in a folder of
    their own.
    """
    docs = workspace.ROOT / "docs"
    index = (docs / "README.md").read_text(encoding="utf-8")
    pages = {path.relative_to(docs).as_posix() for path in docs.glob("*/*.md")}
    assert {page for page in pages if f"({page})" not in index} == set()
