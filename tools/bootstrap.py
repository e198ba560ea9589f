"""Bring `uv` and `hatchling` into `.uv/`, with nothing but Python's own `venv` and `pip`.

Runs on any Python from 3.10 on; says nothing and does nothing when they are there already.
"""

from __future__ import annotations

import fcntl
import subprocess
import sys
from pathlib import Path

HOME = Path(__file__).resolve().parent.parent / ".uv"
PINNED = Path(__file__).with_name("bootstrap.txt")
"""The exact versions of these, and of their needs, with the hashes of their files."""
PACKAGES = ["uv>=0.5", "hatchling>=1.26", "editables", "tomli>=2; python_version < '3.11'"]


def main() -> int:
    """Make `.uv/` once, however many `make` run at the same time."""
    HOME.mkdir(exist_ok=True)
    with (HOME / "bootstrap.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = HOME / "bootstrapped"
        wanted = PINNED.read_text(encoding="utf-8")
        if done.exists() and done.read_text() == wanted and (HOME / "bin" / "uv").exists():
            return 0
        create()
        done.write_text(wanted)
    return 0


def create() -> None:
    """Create the environment and install all with pip, as pip is configured on this machine."""
    print("Bringing uv and hatchling into .uv/", flush=True)
    try:
        subprocess.run([sys.executable, "-m", "venv", str(HOME)], check=True)
    except subprocess.CalledProcessError:
        sys.exit(
            f"{sys.executable} -m venv failed: this Python has no working `venv`.\nInstall it (on"
            " Debian and Ubuntu: apt-get install python3-venv), or name another one: make"
            " PYTHON=python3.12"
        )
    pip = [
        str(HOME / "bin" / "python"),
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ]
    subprocess.run([*pip, "--require-hashes", "-r", str(PINNED)], check=True)


if __name__ == "__main__":
    sys.exit(main())
