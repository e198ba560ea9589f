"""Make `.venv`: the development tools and every member of the workspace, editable, in pinned
versions.

Quick when nothing changed; safe to run many times at once. `--python 3.12 --venv .venvs/3.12` makes
another one.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.build import build_editable

import workspace
from wheels import in_folder

LEFT_OUT = "left-out"
"""The file of an environment that names the members that it goes without."""


def main() -> int:
    """Bring the environment up to date, one process at a time."""
    options = parse()
    venv = workspace.ROOT / options.venv
    with (workspace.ROOT / ".uv" / "environment.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        update(venv, options.python)
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--venv", default=".venv", help="folder of the environment, below the root")
    parser.add_argument(
        "--python", help="version, such as 3.12; default: the Python that `make` uses"
    )
    return parser.parse_args()


def update(venv: Path, version: str | None) -> None:
    """Create the environment if it is missing, and install into it if anything it depends on
    changed.
    """
    ready = workspace.ready_members()
    stamp = venv / "up-to-date"
    digest = digest_of(ready)
    if stamp.exists() and stamp.read_text() == digest:
        return
    if not (venv / "bin" / "python").exists():
        create(venv, version)
    install(venv, ready, is_further=version is not None)
    stamp.write_text(digest)


def digest_of(members: list[Path]) -> str:
    """Sum up all that decides what is installed: when it is the same as last time, nothing is to
    do.
    """
    files = [workspace.CONSTRAINTS, workspace.DEV_REQUIREMENTS, workspace.TOOL_REQUIREMENTS]
    files.append(Path(__file__))
    files += [member / "pyproject.toml" for member in members]
    files += [path for member in members for path in compiled_parts(member)]
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path}\0".encode())
        digest.update(path.read_bytes() if path.exists() else b"")
    return digest.hexdigest()


def compiled_parts(member: Path) -> list[Path]:
    """Name the files that say what of a member is compiled, and how; none where nothing is."""
    return [*member.glob("setup.py"), *sorted((member / "src").rglob("*.c"))]


def create(venv: Path, version: str | None) -> None:
    python = workspace.find_python(version) if version else Path(sys.executable).resolve()
    if python is None:
        sys.exit(f"Python {version} is not on this machine: install it, or leave it out")
    workspace.uv("venv", "--quiet", "--python", python, venv)


def install(venv: Path, members: list[Path], is_further: bool) -> None:
    """Install tools and members together, so that one resolution sees all of their requirements.

    On a further Python, a member whose needs cannot be had there is left out, and told.
    """
    shown = venv.relative_to(workspace.ROOT)
    python = venv / "bin" / "python"
    print(f"Installing {len(members)} distributions and the tools into {shown}/", flush=True)
    missing: dict[Path, str] = {}
    try:
        pip_install(python, members, is_further, capture_output=is_further)
    except subprocess.CalledProcessError:
        missing = missing_on(python, members) if is_further else {}
        members = [member for member in members if member not in missing]
        pip_install(python, members, is_further)
    for member, reason in missing.items():
        print(f"Left out of {shown}/: {member.relative_to(workspace.ROOT)}: {reason}", flush=True)
    names = [str(member.relative_to(workspace.ROOT)) for member in missing]
    (venv / LEFT_OUT).write_text("\n".join(names), encoding="utf-8")
    remove_former(venv, members)


def left_out(folder: str) -> list[str]:
    """Name the members that an environment goes without."""
    return (workspace.ROOT / folder / LEFT_OUT).read_text(encoding="utf-8").split()


def pip_install(python: Path, members: list[Path], is_further: bool, **options: Any) -> None:
    """Install members, editable, with all that their tests need; the tools on the first Python."""
    arguments: list[str | Path] = ["-r", workspace.DEV_REQUIREMENTS]
    arguments += [] if is_further else ["-r", workspace.TOOL_REQUIREMENTS]
    if workspace.CONSTRAINTS.exists():
        arguments += ["-c", workspace.CONSTRAINTS]
    for member in members:
        arguments += workspace.test_needs(member)
        if compiled_parts(member):  # what uv has in its cache was compiled into another tree
            name = workspace.load(member)["project"]["name"]
            arguments += ["-e", member, "--refresh-package", name, "--reinstall-package", name]
    with tempfile.TemporaryDirectory() as folder:
        for member in members:
            if not compiled_parts(member):  # uv would make an environment for each
                arguments.append(in_folder(member, build_editable, Path(folder)))
        flags = workspace.compiler_flags(python)
        quiet = ("--quiet", "--no-sources", "--python", python)
        workspace.uv("pip", "install", *quiet, *arguments, env=flags, **options)


def missing_on(python: Path, members: list[Path]) -> dict[Path, str]:
    """Name the members that cannot be installed, or whose tests cannot, on a Python, and why."""
    names = {str(workspace.load(member)["project"]["name"]): member for member in members}
    found = {}
    for name, member in names.items():
        needed = [names[each] for each in workspace.ours_in(name, names)]
        try:
            pip_install(python, needed, True, capture_output=True)
        except subprocess.CalledProcessError as error:
            found[member] = " ".join(error.stderr.split())[-300:]
    return found


def remove_former(venv: Path, members: list[Path]) -> None:
    """Uninstall what was a member and is none now: its entry points would stay behind."""
    python = venv / "bin" / "python"
    listing = workspace.uv("pip", "freeze", "--python", python, capture_output=True)
    installed = set(re.findall(r"^eventtracking[\w-]*", listing.stdout, re.MULTILINE))
    former = installed - {workspace.load(member)["project"]["name"] for member in members}
    if former:
        workspace.uv("pip", "uninstall", "--quiet", "--python", python, *sorted(former))


if __name__ == "__main__":
    sys.exit(main())
