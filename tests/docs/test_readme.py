"""The README's first example, to the letter, and the index of the documents."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

import documents
import workspace

README = workspace.ROOT / "README.md"
MOST_LINES = 10


@pytest.mark.process
def test_the_ten_line_example_prints_its_events(tmp_path: Path) -> None:
    """Exactly two lines of JSON, with the five keys in order, and no more code than it says."""
    program = next(b.text for b in documents.blocks_of(README) if b.language == "python")
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


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def tables(document: Path) -> list[list[list[str]]]:
    """Read the tables of a document: a list of rows each, the heading first."""
    blocks = re.findall(r"(?:^\|.*\n)+", document.read_text(encoding="utf-8"), re.MULTILINE)
    return [[cells(line) for line in block.splitlines() if "---" not in line] for block in blocks]


def test_each_figure_is_one_that_was_measured() -> None:
    """The README repeats rows of the table of survival, and values of the benchmarks' table."""
    explanation = workspace.ROOT / "docs" / "explanation"
    survival, cost = (
        table for table in tables(README) if table[0][-1] == "shown by" and len(table) > 2
    )
    measured = tables(explanation / "survival.md")[0]
    for row in survival[1:]:
        (source,) = [line for line in measured if line[0] == row[0]]
        known = dict(zip(measured[0], source, strict=True))
        assert row[:-1] == [known[column] for column in survival[0][:-1]]
    group, values = "", {}
    for what, who, value, *_ in tables(explanation / "performance.md")[0][1:]:
        group = what or group
        values[group, who] = value
    for row in cost[1:]:
        assert row[1:-1] == [values.get((row[0], who), "") for who in cost[0][1:-1]]


def test_each_command_of_the_table_is_there() -> None:
    """A figure names a target of the Makefile, and a benchmark that exists."""
    makefile = (workspace.ROOT / "Makefile").read_text(encoding="utf-8")
    named = [row[-1] for table in tables(README) for row in table[1:]]
    assert named
    for command in named:
        target, benchmark = re.fullmatch(r"`make (\w+)(?: ARGS='--only (\w+)')?`", command).groups()  # type: ignore[union-attr]  # no match is the failure
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
        assert benchmark is None or (workspace.ROOT / "bench" / f"bench_{benchmark}.py").is_file()


def test_the_index_has_every_page() -> None:
    """docs/README.md leads to each page under docs/; the decisions stand in a folder of
    their own.
    """
    docs = workspace.ROOT / "docs"
    index = (docs / "README.md").read_text(encoding="utf-8")
    pages = {path.relative_to(docs).as_posix() for path in docs.glob("*/*.md")}
    assert {page for page in pages if f"({page})" not in index} == set()
