"""A plugin of somebody else is installed from its wheel, and works like one of ours."""

from __future__ import annotations

import shutil
import subprocess
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest

import workspace

EXAMPLE = workspace.ROOT / "examples" / "third_party"
OURS = ("core", "cli", "testkit")
MOST_LINES = 25


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A new environment with the wheels of the example, the core, the command line and the test
    kit.
    """
    wheels, folder = tmp_path_factory.mktemp("wheels"), tmp_path_factory.mktemp("outsider")
    for source in (EXAMPLE, *(workspace.ROOT / name for name in OURS)):
        constrained = ("--build-constraints", workspace.CONSTRAINTS)
        workspace.uv(
            "build", "-q", "--no-sources", "--wheel", *constrained, "--out-dir", wheels, source
        )
    venv.create(folder, symlinks=True)
    places = ("--find-links", wheels, "--constraint", workspace.CONSTRAINTS, "--no-sources")
    names = ("acme-stdout", "eventtracking-cli", "eventtracking-testkit", "pytest")
    workspace.uv("pip", "install", "-q", "--python", folder / "bin" / "python", *places, *names)
    yield folder
    shutil.rmtree(folder)


def run(environment: Path, folder: Path, program: str, *arguments: str) -> str:
    command: list[str | Path] = [environment / "bin" / program, *arguments]
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, cwd=folder, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


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


def test_it_is_found_by_its_name(environment: Path, tmp_path: Path) -> None:
    """The command line lists it with its option, and sends an event through a config that
    names it.
    """
    text = run(environment, tmp_path, "eventtracking", "plugins", "stdout")
    assert "stdout: backend, acme-stdout 1.0" in text
    assert "Text before each name." in text
    (tmp_path / "eventtracking.toml").write_text(
        '[backends.out]\nplugin = "stdout"\nprefix = "> "\n'
    )
    assert "> a.b\n" in run(environment, tmp_path, "eventtracking", "emit", "a.b")


def test_its_own_tests_pass(environment: Path, tmp_path: Path) -> None:
    """It inherits the contract of every backend, run against the installed wheel and away from its
    source.
    """
    shutil.copytree(EXAMPLE / "tests", tmp_path / "tests")
    text = run(
        environment, tmp_path, "python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"
    )
    assert " passed" in text
    assert "skipped" not in text
