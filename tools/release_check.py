"""Try all that a release is: `make release-check`; ten minutes at most.

Everything is built once, into `dist/`, and it is these files that are checked, described (a bill of
materials in `dist/sbom/`), compared with the last release, and installed alone.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import alone
import artifacts
import interface
import wheels
import workspace

DIST = workspace.ROOT / "dist"


def build() -> list[str]:
    """Build every wheel and source archive; with `--built`, take those in dist/."""
    if "--built" in sys.argv[1:]:
        return []
    for former in DIST.glob("eventtracking*"):
        former.unlink()
    print(f"{len(wheels.build_all(DIST))} files in dist/")
    return []


def check_artifacts() -> list[str]:
    """Look into each file."""
    return list(artifacts.problems(DIST))


def check_workflows() -> list[str]:
    """Let zizmor look at the workflows."""
    zizmor = Path(sys.executable).parent / "zizmor"
    options = ("--offline", "--pedantic", "--no-progress", "--quiet")
    done = workspace.tried(zizmor, *options, workspace.ROOT / ".github" / "workflows")
    return [f"zizmor: {done.stdout}{done.stderr}"] if done.returncode else []


def try_alone() -> list[str]:
    """Install each distribution alone, write its bill of materials, and run its tests."""
    return alone.problems(DIST)


STEPS: tuple[Callable[[], list[str]], ...] = (
    build,
    check_artifacts,
    check_workflows,
    interface.problems,
    try_alone,
)


def main() -> int:
    """Do every step, tell how long each took, and all that is wrong at the end."""
    found: list[str] = []
    for step in STEPS:
        began = time.monotonic()
        problems = step()
        name = (step.__doc__ or step.__name__).splitlines()[0]
        word = f"{len(problems)} problems" if problems else "ok"
        print(f"{name} {word} ({time.monotonic() - began:.0f} s)", flush=True)
        found += problems
    print(*found, sep="\n", end="\n" if found else "")
    return min(1, len(found))


if __name__ == "__main__":
    sys.exit(main())
