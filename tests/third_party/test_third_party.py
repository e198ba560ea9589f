"""A plugin of somebody else is installed from its wheel, and works like one of ours."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import workspace

EXAMPLE = workspace.ROOT / "examples" / "third_party"
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


def test_its_own_tests_pass(run: Callable[..., str], tmp_path: Path) -> None:
    """It inherits the contract of every backend, run against the installed wheel and away from its
    source.
    """
    shutil.copytree(EXAMPLE / "tests", tmp_path / "tests")
    text = run(tmp_path, "python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests")
    assert " passed" in text
    assert "skipped" not in text
