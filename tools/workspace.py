"""Know the workspace: its members, the Pythons of this machine, and how to call `uv`.

The tools beside this file import it; it runs on the Python of `.uv/`, which may be any from 3.10
on.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
UV = ROOT / ".uv" / "bin" / "uv"
CONSTRAINTS = ROOT / "constraints.txt"
DEV_REQUIREMENTS = ROOT / "requirements-dev.in"
TOOL_REQUIREMENTS = ROOT / "requirements-tools.in"
PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14", "3.15")
UNPACKED_PYTHONS = ("3.14", "3.15")
"""Those that `make pythons` can fetch."""
FETCHED_PYTHONS = Path(
    os.environ.get("EVENTTRACKING_PYTHONS_DIR")
    or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "eventtracking/pythons"
)


def members() -> list[Path]:
    """Find the folders of all distributions, as the globs of the root's pyproject.toml
    name them.
    """
    globs = load(ROOT)["tool"]["uv"]["workspace"]["members"]
    found = {path.parent for glob in globs for path in ROOT.glob(f"{glob}/pyproject.toml")}
    return sorted(found)


def ready_members() -> list[Path]:
    """Find the members that can be built, and name those that are left out."""
    found = members()
    names = {str(load(member)["project"]["name"]): member for member in found}
    ready = []
    for name, member in names.items():
        lacking = sorted(ours_in(name, names) - names.keys())
        if not is_ready(member):
            lacking = ["a README or src/"]
        if lacking:
            print(
                f"Left out, for want of {', '.join(lacking)}: {member.relative_to(ROOT)}",
                flush=True,
            )
        else:
            ready.append(member)
    return ready


def load(member: Path) -> dict[str, Any]:
    """Read the pyproject.toml of one folder."""
    document: dict[str, Any] = tomllib.loads(
        (member / "pyproject.toml").read_text(encoding="utf-8")
    )
    return document


def ours_in(name: str, members: Mapping[str, Path]) -> set[str]:
    """Name the distributions of ours that one needs, itself included, absent ones too."""
    if name not in members:
        return {name}
    needs = load(members[name])["project"].get("dependencies", [])
    found = [re.match(r"eventtracking(?:-[\w-]+)?(?![\w-])", need) for need in needs]
    return {name}.union(*(ours_in(each.group(), members) for each in found if each))


def test_needs(member: Path) -> list[str]:
    """Return what the tests of a distribution need, leaving out distributions of ours.

    Those are members of the workspace, or absent: then the tests that need them are skipped.
    """
    group = load(member).get("dependency-groups", {}).get("test", [])
    return [str(need) for need in group if not is_ours(need)]


def is_ours(requirement: str) -> bool:
    """Tell whether a requirement names a distribution of this workspace."""
    return re.match(r"eventtracking(?![A-Za-z0-9])", requirement) is not None


def is_ready(member: Path) -> bool:
    """Tell whether a member can be built: one whose author has only begun cannot."""
    project = load(member).get("project", {})
    readme = member / str(project.get("readme", "README.md"))
    return readme.exists() and (member / "src").is_dir()


def uv(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run `uv` with the arguments, with this machine's index settings, and fail if it fails."""
    env = {**environment(), **options.pop("env", {})}
    return subprocess.run([UV, *arguments], check=True, text=True, env=env, cwd=ROOT, **options)


def tried(*command: str | Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run a command that may fail; return how it ended, and what it printed."""
    return subprocess.run(command, check=False, capture_output=True, text=True, cwd=cwd)


def environment() -> dict[str, str]:
    """Give the environment for `uv`: no downloads of interpreters, and pip's own index where uv has
    none.
    """
    env = {**os.environ, "UV_PYTHON_DOWNLOADS": "never"}
    env.pop("VIRTUAL_ENV", None)
    for name, pip_option in (
        ("UV_DEFAULT_INDEX", "global.index-url"),
        ("SSL_CERT_FILE", "global.cert"),
    ):
        value = pip_setting(pip_option)
        if name not in env and value:
            env[name] = value
    return env


def pip_setting(option: str) -> str:
    """Ask pip for one of its settings; empty if there is none."""
    variable = "PIP_" + option.split(".")[1].replace("-", "_").upper()
    if variable in os.environ:
        return os.environ[variable]
    if not PIP_SETTINGS:
        pip = [sys.executable, "-m", "pip", "config", "list", "--disable-pip-version-check"]
        answer = subprocess.run(pip, check=False, capture_output=True, text=True)
        PIP_SETTINGS.update(re.findall(r"^(\S+)='(.*)'$", answer.stdout, re.MULTILINE), asked="yes")
    return PIP_SETTINGS.get(option, "")


PIP_SETTINGS: dict[str, str] = {}


def find_python(version: str) -> Path | None:
    """Find an interpreter of that version (such as `3.12`): on PATH, under pyenv, where uv keeps
    its own, or where `make pythons` has unpacked it.
    """
    candidates = [Path(found) for found in [shutil.which(f"python{version}")] if found]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    candidates += sorted(pyenv.glob(f"versions/{version}.*/bin/python{version}"), reverse=True)
    candidates += sorted(
        Path.home().glob(f".local/share/uv/python/cpython-{version}.*/bin/python{version}"),
        reverse=True,
    )
    candidates += FETCHED_PYTHONS.glob(f"{version}/*/usr/bin/python{version}")
    return next((path for path in candidates if runs_as(path, version)), None)


def compiler_flags(python: Path) -> dict[str, str]:
    """Say where the headers of an unpacked Python are, which takes itself for the system's."""
    root = python.resolve().parent.parent
    if not root.is_relative_to(FETCHED_PYTHONS.resolve()):
        return {}
    places = [root / "include", *root.glob("include/python3.*")]
    return {"CFLAGS": " ".join(f"-I {place}" for place in places)}


def runs_as(python: Path, version: str) -> bool:
    """Tell whether this program starts and is that Python: a pyenv shim may be there and refuse."""
    code = "import sys, venv; print('%d.%d' % sys.version_info[:2])"
    answer = subprocess.run([python, "-c", code], check=False, capture_output=True, text=True)
    return answer.returncode == 0 and answer.stdout.strip() == version


def tracked(*patterns: str) -> list[Path]:
    """List the repository's files that match, those not committed yet included and ignored ones
    not.
    """
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns]
    answer = subprocess.run(listing, check=True, capture_output=True, text=True, cwd=ROOT)
    return sorted({ROOT / name for name in answer.stdout.splitlines()})
