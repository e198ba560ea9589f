"""Check what a release publishes: the wheels and source archives in `dist/`, and their metadata."""

from __future__ import annotations

import email.message
import email.parser
import re
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import changelog
import workspace


def problems(dist: Path) -> Iterator[str]:
    """Yield all that is wrong with the archives of a folder."""
    versions = dict(_projects())
    if len(set(versions.values())) > 1:
        yield f"the versions differ: {versions}"
    for name, version in versions.items():
        stem = f"{name.replace('-', '_')}-{version}"
        wheels = sorted(dist.glob(f"{stem}-*.whl"))
        if not [wheel for wheel in wheels if wheel.name.endswith("-py3-none-any.whl")]:
            yield f"{name}: no wheel for every Python"
        for wheel in wheels:
            yield from (f"{wheel.name}: {problem}" for problem in wheel_problems(wheel, name))
        archive = dist / f"{stem}.tar.gz"
        if archive.exists():
            yield from (f"{archive.name}: {problem}" for problem in archive_problems(archive))
        else:
            yield f"{name}: no source archive"
    yield from (f"changelog.d: {problem}" for problem in changelog.problems())
    yield from checked_by_programs(dist)
    yield from compiled_problems()


def _projects() -> Iterator[tuple[str, str]]:
    for member in workspace.ready_members():
        project = workspace.load(member)["project"]
        yield project["name"], project["version"]


def wheel_problems(wheel: Path, name: str) -> Iterator[str]:
    """Yield what is missing in a wheel, or wrong with its metadata."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = next(each for each in names if each.endswith(".dist-info/METADATA"))
        facts = email.parser.Parser().parsestr(archive.read(metadata).decode())
    if f"{name.replace('-', '_')}/py.typed" not in names:
        yield "no py.typed"
    if not [each for each in names if each.endswith(".dist-info/licenses/LICENSE")]:
        yield "no licence"
    is_pure = wheel.name.endswith("-py3-none-any.whl")
    if is_pure == any(each.endswith(".so") for each in names):
        yield "its tags do not say whether something in it is compiled"
    yield from metadata_problems(facts)


def metadata_problems(facts: email.message.Message) -> Iterator[str]:
    """Yield what a package index would show wrongly, or not at all."""
    for field in ("Summary", "Requires-Python", "License-Expression", "Description-Content-Type"):
        if not facts[field]:
            yield f"no {field}"
    classifiers = facts.get_all("Classifier") or []
    for version in workspace.PYTHONS:
        if f"Programming Language :: Python :: {version}" not in classifiers:
            yield f"no classifier for Python {version}"
    if not str(facts.get_payload()).strip():
        yield "no description"


def archive_problems(path: Path) -> Iterator[str]:
    """Yield what a source archive lacks: it must do for a build, its tests included."""
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for wanted in ("LICENSE", "PKG-INFO", "README.md", "pyproject.toml"):
        if wanted not in names:
            yield f"no {wanted}"


def checked_by_programs(dist: Path) -> Iterator[str]:
    """Yield what twine and check-wheel-contents find."""
    wheels = sorted(dist.glob("*.whl"))
    commands: list[list[str | Path]] = [
        ["twine", "check", "--strict", *sorted(dist.glob("*.tar.gz")), *wheels],
        ["check_wheel_contents", "--ignore", "W009", *wheels],  # one adds to core's package
    ]
    for command in commands:
        done = workspace.tried(sys.executable, "-m", *command)
        if done.returncode:
            yield f"{command[0]}: {done.stdout}{done.stderr}"


def compiled_problems() -> Iterator[str]:
    """Yield the Pythons for which a release would have no compiled wheel of core."""
    show = ("--print-build-identifiers", "--platform", "linux", "--archs", "x86_64")
    done = workspace.tried(sys.executable, "-m", "cibuildwheel", *show, workspace.ROOT / "core")
    built = done.stdout.split()
    for version in workspace.PYTHONS:
        if f"cp{version.replace('.', '')}-manylinux_x86_64" not in built:
            yield f"cibuildwheel builds nothing for Python {version}: {done.stderr[-500:]}"
    for identifier in built:
        if re.match(r"cp\d+t-", identifier):
            yield f"cibuildwheel builds for a Python without the global lock: {identifier}"
