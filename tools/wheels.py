"""Build the wheel of every distribution into a folder: `wheels.py [FOLDER]`, `dist/` by default."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import workspace


def main() -> int:
    """Build them all, with the build backend that constraints.txt names."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else workspace.ROOT / "dist"
    for member in workspace.ready_members():
        build(member, folder)
    return 0


def build(member: Path, folder: Path) -> None:
    """Build the wheel of one distribution.

    What an earlier build has left could hold files that are gone.
    """
    shutil.rmtree(member / "build", ignore_errors=True)
    constrained = ("--build-constraints", workspace.CONSTRAINTS)
    workspace.uv(
        "build", "--quiet", "--no-sources", "--wheel", *constrained, "--out-dir", folder, member
    )


if __name__ == "__main__":
    sys.exit(main())
