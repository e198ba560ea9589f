"""The two environments of the trial: one with event-tracking, one with its successor, each with
event-routing-backends.

They are made once, in a cache folder of the workspace.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

__all__ = ["EXTRA", "NAMES", "ROOT", "UnavailableError", "environment", "suite_supported"]

ROOT: Final = Path(__file__).parents[4]
FOLDER: Final = ROOT / ".venvs"
NAMES: Final = ("before", "after")
_COMMON: Final = ("edx-event-routing-backends==9.3.8", "setuptools<81", "celery", "redis")
EXTRA: Final = ("pytest", "pytest-django", "responses", "factory-boy", "ddt", "moto", "mock")
"""For the suite of event-routing-backends."""
_OVERRIDE: Final = "event-tracking ; python_version < '3'\n"
"""As the guide says: nothing installs event-tracking, whatever requires it."""


class UnavailableError(Exception):
    """Raised if an environment cannot be made here, for want of a package index."""


def environment(name: str) -> Path:
    """Return the interpreter of an environment, which is made if need be.

    Args:
        name: `before` or `after`.

    Raises:
        UnavailableError: If it cannot be made.
    """
    sys.path.append(str(ROOT / "tools"))
    import workspace

    members = [member for member in workspace.ready_members() if "examples" not in member.parts]
    wanted = ["event-tracking==4.0.2"] if name == "before" else [f"-e{one}" for one in members]
    wanted += [*_COMMON, *EXTRA]
    venv = FOLDER / f"moving-{name}"
    python, mark = venv / "bin" / "python", venv / "complete"
    print_of = "\n".join([*wanted, *(str(hash_of(one)) for one in members if name == "after")])
    FOLDER.mkdir(exist_ok=True)
    with (FOLDER / f"moving-{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if mark.exists() and mark.read_text() == print_of:
            return python
        shutil.rmtree(venv, ignore_errors=True)
        overrides = FOLDER / "moving-overrides.txt"
        overrides.write_text(_OVERRIDE if name == "after" else "")
        install = ("pip", "install", "--quiet", "--no-sources", "--overrides", overrides)
        try:
            workspace.uv("venv", "--quiet", "--python", sys.executable, venv)
            workspace.uv(*install, "--python", python, *wanted)
        except (subprocess.CalledProcessError, OSError) as error:
            raise UnavailableError(f"the environment {name!r} cannot be made: {error}") from error
        mark.write_text(print_of)
    return python


def hash_of(member: Path) -> str:
    """Tell the dependencies and entry points of a member; its sources are read where they are."""
    return hashlib.sha256((member / "pyproject.toml").read_bytes()).hexdigest()


def suite_supported() -> bool:
    """Whether event-routing-backends runs on this Python."""
    return tuple(sys.version_info) >= (3, 11)
