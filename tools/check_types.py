"""Run mypy over every member's sources together, then over each folder of tests by itself.

Test modules of two members may have the same name, which one run of mypy would refuse.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import workspace


def main() -> int:
    """Check everything, then tell whether any of it failed."""
    members = workspace.ready_members()
    sources = [member / "src" for member in members]
    tests = [workspace.ROOT / "tests", *(member / "tests" for member in members)]
    scripts = [workspace.ROOT / "tools", workspace.ROOT / "bench"]
    runs = [sources, *([folder] for folder in [*tests, *scripts] if any(folder.rglob("*.py")))]
    return max([passes(paths) for paths in runs])


def passes(paths: list[Path]) -> int:
    """Run mypy once; its exit status."""
    quiet = ("--no-error-summary", "--hide-error-context")
    return subprocess.run(
        [sys.executable, "-m", "mypy", *quiet, *paths], check=False, cwd=workspace.ROOT
    ).returncode


if __name__ == "__main__":
    sys.exit(main())
