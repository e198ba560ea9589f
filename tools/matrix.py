"""Run the tests that need no service on each supported Python of this machine, and say which were
left out.

All arguments go to pytest. Tests that start a process take most of the time: they are run on the
oldest and the newest Python alone, or on those that the variable PROCESSES names. An environment
for each is made below `.venvs/`. The variable EXCEPT names a version to leave out, such as the one
on which `make test` has just run everything; WHOLE names those that run every distribution's tests,
by default all; the others run core's.
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
    there = [version for version in workspace.PYTHONS if is_there(version)]
    with_processes = os.environ.get("PROCESSES", " ".join([*there[:1], *there[-1:]])).split()
    results = {
        version: run(version, version in with_processes) if version in there else left_out(version)
        for version in workspace.PYTHONS
    }
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


def is_there(version: str) -> bool:
    """Whether a Python is on this machine, and is asked for."""
    return version != os.environ.get("EXCEPT") and workspace.find_python(version) is not None


def left_out(version: str) -> str:
    """Say why a Python is left out."""
    asked = version == os.environ.get("EXCEPT")
    return "left out: it was asked for" if asked else "left out: it is not on this machine"


def run(version: str, with_processes: bool) -> str:
    """Run the tests on one Python; what became of it, in a word."""
    print(f"\nPython {version}", flush=True)
    began = time.monotonic()
    folder = f".venvs/{version}"
    make = [sys.executable, "tools/environment.py", "--python", version, "--venv", folder]
    if status := subprocess.run(make, check=False, cwd=workspace.ROOT).returncode:
        return f"FAILED with exit status {status}: no environment"
    made = time.monotonic()
    whole = version in os.environ.get("WHOLE", version).split()
    command = pytest(folder, with_processes, whole)
    status = subprocess.run(command, check=False, cwd=workspace.ROOT).returncode
    took = f"(environment {made - began:.0f} s, tests {time.monotonic() - made:.0f} s)"
    took += "" if with_processes else "; without tests that start a process"
    took += "" if whole else "; core alone"
    took += "".join(f"; without {name}" for name in environment.left_out(folder))
    return (f"FAILED with exit status {status} " if status else "passed ") + took


def pytest(folder: str, with_processes: bool, whole: bool) -> list[str | Path]:
    """Return the command that runs the tests of all members that the environment has."""
    python = workspace.ROOT / folder / "bin" / "python"
    ignored = [f"--ignore={name}" for name in environment.left_out(folder)]
    folders = () if whole else [one for one in sys.argv[1:] if (workspace.ROOT / one).is_dir()]
    arguments = [one for one in sys.argv[1:] if one not in folders or one == "core/tests"]
    if not with_processes:
        place = arguments.index("-m") + 1
        arguments[place] += " and not process"
    return [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *ignored, *arguments]


if __name__ == "__main__":
    sys.exit(main())
