"""Build each distribution's wheel and source archive: `wheels.py [FOLDER]`, `dist/` by default.

Core has two wheels: a compiled one for the Python that runs this, and one for every Python.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import hatchling.build

import workspace

PURE = {"EVENTTRACKING_BUILD_PURE": "1"}
"""With it core's wheel holds nothing compiled."""


def main() -> int:
    """Build them all, with the build backend that constraints.txt names."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else workspace.ROOT / "dist"
    for former in [*folder.glob("eventtracking*.whl"), *folder.glob("eventtracking*.tar.gz")]:
        former.unlink()
    for path in build_all(folder):
        print(path.name)
    return 0


def build_all(folder: Path) -> list[Path]:
    """Build every wheel and source archive; the same tree gives the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("SOURCE_DATE_EPOCH", committed_at())
    for member in workspace.ready_members():
        build(member, folder)
        if is_compiled(member):
            uv_build(member, folder, "--wheel", PURE)
            uv_build(member, folder, "--sdist", {})
        else:
            in_folder(member, hatchling.build.build_sdist, folder)
    return sorted([*folder.glob("eventtracking*.whl"), *folder.glob("eventtracking*.tar.gz")])


def build(member: Path, folder: Path) -> None:
    """Build the wheel of one distribution.

    What an earlier build has left could hold files that are gone.
    """
    shutil.rmtree(member / "build", ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    if is_compiled(member):
        uv_build(member, folder, "--wheel", {})
    else:
        in_folder(member, hatchling.build.build_wheel, folder)


def is_compiled(member: Path) -> bool:
    """Whether a part of a distribution is compiled, where there is a compiler."""
    return (member / "setup.py").exists()


def uv_build(member: Path, folder: Path, kind: str, environment: dict[str, str]) -> None:
    """Build in an environment of its own, with the build backend that constraints.txt names."""
    shutil.rmtree(member / "build", ignore_errors=True)
    constrained = ("--build-constraints", workspace.CONSTRAINTS)
    arguments = ("--quiet", "--no-sources", kind, *constrained, "--out-dir", folder, member)
    workspace.uv("build", "--python", sys.executable, *arguments, env=environment)


def in_folder(member: Path, hook: Callable[[str], str], folder: Path) -> Path:
    """Call a hook of the build backend in this process: an environment for each takes longer."""
    here = Path.cwd()
    os.chdir(member)
    try:
        return folder / hook(str(folder.absolute()))
    finally:
        os.chdir(here)


def committed_at() -> str:
    """Tell when the last commit was made, in seconds; all files in an archive get that time."""
    command = ["git", "log", "-1", "--format=%ct"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=workspace.ROOT)
    return done.stdout.strip() or "1767225600"


if __name__ == "__main__":
    sys.exit(main())
