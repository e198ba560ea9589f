"""Run the tests that need no service on each supported Python of this machine, and say which were
left out.

All arguments go to pytest. An environment for each Python is made below `.venvs/`. The variable
EXCEPT names a version to leave out, such as the one on which `make test` has just run everything.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import environment
import workspace


def main() -> int:
    """Run each, all of them even after a failure; exit status 1 if one failed or none could run."""
    results = {version: run(version) for version in workspace.PYTHONS}
    print("\n" + "\n".join(f"Python {version}: {result}" for version, result in results.items()))
    return (
        0
        if any(map(is_pass, results.values())) and not any(map(is_failure, results.values()))
        else 1
    )


def is_pass(result: str) -> bool:
    return result.startswith("passed")


def is_failure(result: str) -> bool:
    return result.startswith("FAILED")


def run(version: str) -> str:
    """Run the tests on one Python; what became of it, in a word."""
    if version == os.environ.get("EXCEPT"):
        return "left out: it was asked for"
    if workspace.find_python(version) is None:
        return "left out: it is not on this machine"
    print(f"\nPython {version}", flush=True)
    began = time.monotonic()
    folder = f".venvs/{version}"
    make = [sys.executable, "tools/environment.py", "--python", version, "--venv", folder]
    if status := subprocess.run(make, check=False, cwd=workspace.ROOT).returncode:
        return f"FAILED with exit status {status}: no environment"
    made = time.monotonic()
    status = subprocess.run(pytest(folder), check=False, cwd=workspace.ROOT).returncode
    took = f"(environment {made - began:.0f} s, tests {time.monotonic() - made:.0f} s)"
    left_out = "".join(f"; without {name}" for name in environment.left_out(folder))
    return (f"FAILED with exit status {status} " if status else "passed ") + took + left_out


def pytest(folder: str) -> list[str | Path]:
    """Return the command that runs the tests of all members that the environment has."""
    python = workspace.ROOT / folder / "bin" / "python"
    ignored = [f"--ignore={name}" for name in environment.left_out(folder)]
    return [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *ignored, *sys.argv[1:]]


if __name__ == "__main__":
    sys.exit(main())
