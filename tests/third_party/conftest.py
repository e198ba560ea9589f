"""An environment of an outsider: our wheels, and nothing of this repository's sources."""

from __future__ import annotations

import os
import shutil
import subprocess
import venv
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import wheels
import workspace

EXAMPLES = workspace.ROOT / "examples"
OUTSIDERS = ("two_files", "third_party")
OURS = ("core", "cli", "testkit", "plugins/buffer")


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Install the wheels of the examples, and of ours what they are used with."""
    built, folder = tmp_path_factory.mktemp("wheels"), tmp_path_factory.mktemp("outsider")
    examples = [EXAMPLES / name for name in OUTSIDERS]
    for source in (*examples, *(workspace.ROOT / name for name in OURS)):
        wheels.build(source, built)
    venv.create(folder, symlinks=True)
    places = ("--find-links", built, "--constraint", workspace.CONSTRAINTS, "--no-sources")
    names = ("acme-stdout", "acme-lake[parquet]", "eventtracking-buffer", "eventtracking-cli")
    tools = ("eventtracking-testkit", "duckdb", "pytest", "mypy")
    workspace.uv(
        "pip", "install", "-q", "--python", folder / "bin" / "python", *places, *names, *tools
    )
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def run(environment: Path) -> Callable[..., str]:
    """Run a program of that environment in a folder, and return its output."""

    def run_program(folder: Path, program: str, *arguments: str) -> str:
        command: list[str | Path] = [environment / "bin" / program, *arguments]
        # One cache for all plugins: most of the files that mypy reads are the same.
        env = {**os.environ, "MYPY_CACHE_DIR": str(environment / "mypy")}
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, cwd=folder, timeout=170, env=env
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run_program
