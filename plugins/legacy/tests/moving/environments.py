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
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

__all__ = [
    "NAMES",
    "ROOT",
    "UnavailableError",
    "environment",
    "suite_environment",
    "suite_supported",
    "suite_tree",
]

ROOT: Final = Path(__file__).parents[4]
FOLDER: Final = ROOT / ".venvs"
NAMES: Final = ("before", "after")
_COMMON: Final = (
    "edx-event-routing-backends==9.3.8",
    "setuptools<81",
    "celery",
    "redis",
    "packaging",
)
_NEEDED: Final = (
    "core",
    "async_celery",
    "buffer",
    "django",
    "event_bus",
    "legacy",
    "logger",
    "name_filter",
    "regex_filter",
)
"""The distributions of the site's settings, and of the suite's."""
_SUITE: Final = ("pytest", "pytest-django", "responses", "factory-boy", "ddt", "moto", "mock")
_SUITE_SOURCE: Final = "edx-event-routing-backends==10.1.0"
"""The first release whose source archive holds the fixtures of its tests.

Its code is that of 9.3.8 but for one transformer. It asks for Python 3.12, and runs on 3.11.
"""
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
    workspace = _workspace()
    members = [one for one in workspace.ready_members() if one.name in _NEEDED]
    wanted = ["event-tracking==4.0.2"] if name == "before" else [f"-e{one}" for one in members]
    wanted += _COMMON
    venv = FOLDER / f"moving-{name}"
    mark = venv / "complete"
    print_of = "\n".join([*wanted, *(str(hash_of(one)) for one in members if name == "after")])
    with _locked(name):
        if not mark.exists() or mark.read_text() != print_of:
            shutil.rmtree(venv, ignore_errors=True)
            try:
                workspace.uv("venv", "--quiet", "--python", sys.executable, venv)
            except (subprocess.CalledProcessError, OSError) as error:
                raise UnavailableError(f"no environment {name!r}: {error}") from error
            _install(name, *wanted)
            mark.write_text(print_of)
    return venv / "bin" / "python"


def suite_environment(name: str) -> Path:
    """Return the interpreter of an environment that can run event-routing-backends' own tests.

    Raises:
        UnavailableError: If it cannot be made.
    """
    python = environment(name)
    mark = FOLDER / f"moving-{name}" / "complete-suite"
    with _locked(name):
        if not mark.exists():
            _install(name, *_SUITE)
            mark.touch()
    return python


def suite_tree() -> Path:
    """Return the source tree of event-routing-backends, from its archive in the package index.

    Raises:
        UnavailableError: If it cannot be fetched.
    """
    folder = FOLDER / "moving-suite"
    with _locked("suite"):
        if not folder.exists():
            made = folder.with_suffix(".part")
            shutil.rmtree(made, ignore_errors=True)
            pip = (str(ROOT / ".uv" / "bin" / "python"), "-m", "pip", "download", "--quiet")
            how = ("--no-deps", "--no-binary", ":all:", "--ignore-requires-python")
            command = [*pip, *how, "--dest", str(made), _SUITE_SOURCE]
            try:
                subprocess.run(command, check=True, capture_output=True)
            except (subprocess.CalledProcessError, OSError) as error:
                raise UnavailableError(f"{_SUITE_SOURCE} cannot be fetched: {error}") from error
            (archive,) = made.glob("*.tar.gz")
            with tarfile.open(archive) as opened:
                opened.extractall(made, filter="data")
            made.rename(folder)
    (tree,) = (path for path in folder.iterdir() if path.is_dir())
    return tree


def _workspace() -> Any:
    sys.path.append(str(ROOT / "tools"))
    import workspace

    return workspace


@contextmanager
def _locked(name: str) -> Iterator[None]:
    """Keep other processes from making the same environment at the same time."""
    FOLDER.mkdir(exist_ok=True)
    with (FOLDER / f"moving-{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _install(name: str, *wanted: str) -> None:
    overrides = FOLDER / f"moving-{name}.overrides"
    overrides.write_text(_OVERRIDE if name == "after" else "")
    python = FOLDER / f"moving-{name}" / "bin" / "python"
    options = ("--quiet", "--no-sources", "--overrides", overrides, "--python", python)
    try:
        _workspace().uv("pip", "install", *options, *wanted)
    except (subprocess.CalledProcessError, OSError) as error:
        raise UnavailableError(f"the environment {name!r} cannot be made: {error}") from error


def hash_of(member: Path) -> str:
    """Tell the dependencies and entry points of a member; its sources are read where they are."""
    return hashlib.sha256((member / "pyproject.toml").read_bytes()).hexdigest()


def suite_supported() -> bool:
    """Whether event-routing-backends runs on this Python."""
    return tuple(sys.version_info) >= (3, 11)
