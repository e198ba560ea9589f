"""Make `.venv`: the development tools and every member of the workspace, editable, in pinned
versions.

Quick when nothing changed; safe to run many times at once. `--python 3.12 --venv .venvs/3.12` makes
another one.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import sys
from pathlib import Path

import workspace


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
    install(venv, ready)
    stamp.write_text(digest)


def digest_of(members: list[Path]) -> str:
    """Sum up all that decides what is installed: when it is the same as last time, nothing is to
    do.
    """
    files = [workspace.CONSTRAINTS, workspace.DEV_REQUIREMENTS, Path(__file__)]
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


def install(venv: Path, members: list[Path]) -> None:
    """Install tools and members together, so that one resolution sees all of their requirements."""
    print(
        f"Installing {len(members)} distributions and the tools into"
        f" {venv.relative_to(workspace.ROOT)}/",
        flush=True,
    )
    arguments: list[str | Path] = ["-r", workspace.DEV_REQUIREMENTS]
    if workspace.CONSTRAINTS.exists():
        arguments += ["-c", workspace.CONSTRAINTS]
    for member in members:
        arguments += ["-e", member]
        if "test" in workspace.load(member).get("dependency-groups", {}):
            arguments += ["--group", f"{member}/pyproject.toml:test"]
        if compiled_parts(member):  # what uv has in its cache was compiled into another tree
            name = workspace.load(member)["project"]["name"]
            arguments += ["--refresh-package", name, "--reinstall-package", name]
    workspace.uv(
        "pip", "install", "--quiet", "--no-sources", "--python", venv / "bin" / "python", *arguments
    )
    remove_former(venv, members)


def remove_former(venv: Path, members: list[Path]) -> None:
    """Uninstall what was a member and is none now: its entry points would stay behind."""
    listing = workspace.uv(
        "pip", "list", "--editable", "--python", venv / "bin" / "python", capture_output=True
    )
    installed = {line.split()[0] for line in listing.stdout.splitlines()[2:]}
    former = installed - {workspace.load(member)["project"]["name"] for member in members}
    if former:
        workspace.uv(
            "pip", "uninstall", "--quiet", "--python", venv / "bin" / "python", *sorted(former)
        )


if __name__ == "__main__":
    sys.exit(main())
