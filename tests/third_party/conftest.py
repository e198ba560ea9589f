"""An environment of an outsider: our wheels, and nothing of this repository's sources."""

from __future__ import annotations

import shutil
import subprocess
import venv
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import workspace

EXAMPLE = workspace.ROOT / "examples" / "third_party"
OURS = ("core", "cli", "testkit")


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Install the wheels of the example, the core, the command line and the test kit."""
    wheels, folder = tmp_path_factory.mktemp("wheels"), tmp_path_factory.mktemp("outsider")
    for source in (EXAMPLE, *(workspace.ROOT / name for name in OURS)):
        constrained = ("--build-constraints", workspace.CONSTRAINTS)
        workspace.uv(
            "build", "-q", "--no-sources", "--wheel", *constrained, "--out-dir", wheels, source
        )
    venv.create(folder, symlinks=True)
    places = ("--find-links", wheels, "--constraint", workspace.CONSTRAINTS, "--no-sources")
    names = ("acme-stdout", "eventtracking-cli", "eventtracking-testkit", "pytest", "mypy")
    workspace.uv("pip", "install", "-q", "--python", folder / "bin" / "python", *places, *names)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def run(environment: Path) -> Callable[..., str]:
    """Run a program of that environment in a folder, and return its output."""

    def run_program(folder: Path, program: str, *arguments: str) -> str:
        command: list[str | Path] = [environment / "bin" / program, *arguments]
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, cwd=folder, timeout=120
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run_program
