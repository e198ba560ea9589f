"""A plugin of somebody else is installed from its wheel, and works like one of ours."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import workspace

pytestmark = [pytest.mark.timeout(180), pytest.mark.needs("buffer")]

EXAMPLES = workspace.ROOT / "examples"
EXAMPLE = EXAMPLES / "two_files"
GUIDE = workspace.ROOT / "docs" / "how-to" / "query-files-with-duckdb.md"
MOST_LINES = 25


def test_it_is_two_small_files() -> None:
    """One makes the distribution, one is the plugin; together they fit on a screen."""
    files = [path for path in EXAMPLE.iterdir() if path.suffix in (".py", ".toml")]
    lines = [
        line
        for path in files
        for line in path.read_text(encoding="utf-8").splitlines()
        if line.strip()
    ]
    assert len(files) == 2
    assert len(lines) <= MOST_LINES


@pytest.mark.process
def test_it_is_found_by_its_name(run: Callable[..., str], tmp_path: Path) -> None:
    """The command line lists it with its option, and sends an event through a config that
    names it.
    """
    text = run(tmp_path, "eventtracking", "plugins", "stdout")
    assert "stdout: backend, acme-stdout 1.0" in text
    assert "Text before each name." in text
    (tmp_path / "eventtracking.toml").write_text(
        '[backends.out]\nplugin = "stdout"\nprefix = "> "\n'
    )
    assert "> a.b\n" in run(tmp_path, "eventtracking", "emit", "a.b")


@pytest.mark.process
@pytest.mark.parametrize("example", ["two_files", "third_party"])
def test_its_own_tests_pass(example: str, run: Callable[..., str], tmp_path: Path) -> None:
    """It inherits the contract of every backend, run against the installed wheel and away from its
    source.
    """
    shutil.copytree(EXAMPLES / example / "tests", tmp_path / "tests")
    text = run(tmp_path, "python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests")
    assert " passed" in text
    assert "skipped" not in text


@pytest.mark.process
def test_the_guide_to_duckdb(run: Callable[..., str], tmp_path: Path) -> None:
    """Its programs run in order, below a disk buffer, and print the rows that it shows."""
    blocks = re.findall(r"```(python|text)\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    printed = ""
    for kind, text in blocks:
        if kind == "python":
            printed = run(tmp_path, "python", "-c", text)
        else:
            assert printed == text
    assert [kind for kind, _ in blocks] == ["python", "python", "text"]
