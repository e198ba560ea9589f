"""The wheels that users install are whole, and each brings only what it says."""

from __future__ import annotations

import json
import subprocess
import tarfile
import venv
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

import workspace
from wheels import build

pytestmark = [pytest.mark.process, pytest.mark.timeout(180), pytest.mark.needs("logger")]

MEMBERS = workspace.ready_members()
OURS = {workspace.load(member)["project"]["name"]: member for member in MEMBERS}
EXAMPLE = """
import logging, sys
import eventtracking
from eventtracking import tracker

logging.basicConfig(stream=sys.stdout, format="%(message)s", level=logging.INFO)
eventtracking.configure({"backends": {"log": {"plugin": "logger", "name": "tracking"}}})

def forbidden(*arguments, **options):
    raise AssertionError("pluggy was called on the way of an event")

import pluggy
pluggy.HookCaller.__call__ = forbidden

address = {"street": "1 Main Street", "city": "Springfield", "geo": {"lat": 44.05, "lon": -123.02}}
current = tracker.get_tracker()
current.enter_context("outer", {"user_id": 10938})
tracker.emit("navigation.request", {"url": "/one"})
with current.context({"user_id": 11111, "session_id": "2987lkjdyoioey"}):
    tracker.emit("navigation.request", {"url": "/two"})
tracker.emit("address.create", {"name": "home", "address": address})
"""

EXPECTED = [
    ("navigation.request", {"user_id": 10938}, {"url": "/one"}),
    ("navigation.request", {"user_id": 11111, "session_id": "2987lkjdyoioey"}, {"url": "/two"}),
    (
        "address.create",
        {"user_id": 10938},
        {
            "name": "home",
            "address": {
                "street": "1 Main Street",
                "city": "Springfield",
                "geo": {"lat": 44.05, "lon": -123.02},
            },
        },
    ),
]


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel of every distribution."""
    folder = tmp_path_factory.mktemp("wheels")
    for member in MEMBERS:
        build(member, folder)
    return folder


class CleanEnvironment:
    """A new virtual environment with some of our wheels in it, and what they need."""

    def __init__(self, folder: Path, wheels: Path, names: Iterable[str]) -> None:
        venv.create(folder, symlinks=True)
        self.folder = folder
        self.python = folder / "bin" / "python"
        places = ("--find-links", wheels, "--constraint", workspace.CONSTRAINTS)
        workspace.uv(
            "pip", "install", "-q", "--no-sources", "--python", self.python, *places, *names
        )

    def run(self, code: str) -> str:
        """Run code apart from the repository: in its own folder, and with none of our variables."""
        done = subprocess.run(
            [self.python, "-I", "-c", code],
            check=False,
            capture_output=True,
            text=True,
            cwd=self.folder,
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        return done.stdout

    def installed(self) -> set[str]:
        """Name the distributions in it."""
        listing = workspace.uv(
            "pip", "list", "--format", "json", "--python", self.python, capture_output=True
        )
        return {entry["name"] for entry in json.loads(listing.stdout)}


@pytest.fixture(scope="module")
def core_and_logger(wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> CleanEnvironment:
    """Install the wheels of core and logger, and nothing else of ours."""
    return CleanEnvironment(
        tmp_path_factory.mktemp("clean"), wheels, ["eventtracking", "eventtracking-logger"]
    )


def test_core_and_logger_alone_run_the_example(core_and_logger: CleanEnvironment) -> None:
    """Three events, with the context of their place, one JSON object a line; and no hook is called
    on their way.
    """
    lines = core_and_logger.run(EXAMPLE).splitlines()
    assert all(line.startswith("{") for line in lines)
    events: list[dict[str, Any]] = [json.loads(line) for line in lines]
    assert [list(event) for event in events] == [["name", "timestamp", "context", "data", "id"]] * 3
    assert [(event["name"], event["context"], event["data"]) for event in events] == EXPECTED
    assert len({event["id"] for event in events}) == 3


def test_core_and_logger_bring_nothing_else(
    core_and_logger: CleanEnvironment, wheels: Path, tmp_path: Path
) -> None:
    """The logger adds only itself to what the core brings; nothing else of ours can be imported."""
    core = CleanEnvironment(tmp_path / "core", wheels, ["eventtracking"])
    assert core.installed() & OURS.keys() == {"eventtracking"}
    assert core_and_logger.installed() == core.installed() | {"eventtracking-logger"}
    others = [
        name.replace("-", "_") for name in OURS.keys() - {"eventtracking", "eventtracking-logger"}
    ]
    code = (
        f"import importlib.util; print([name for name in {others!r} if"
        " importlib.util.find_spec(name)])"
    )
    assert core_and_logger.run(code).strip() == "[]"


@pytest.mark.parametrize("name", sorted(OURS))
def test_a_wheel_is_whole(wheels: Path, name: str) -> None:
    """It holds every source file, the mark of its types and the licence, and no tests; its import
    name is its own.
    """
    package = name.replace("-", "_")
    source = OURS[name] / "src"
    wanted = {path.relative_to(source).as_posix() for path in source.rglob("*.py")} | {
        f"{package}/py.typed"
    }
    (wheel,) = wheels.glob(f"{package}-[0-9]*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    files = {file for file in names if ".dist-info/" not in file}
    assert [file for file in names if file.endswith(".dist-info/licenses/LICENSE")]
    assert wanted <= files
    assert {file.split("/")[0] for file in files} == {path.split("/")[0] for path in wanted}


@pytest.mark.parametrize("name", sorted(OURS.keys() - {"eventtracking"}))
def test_a_wheel_alone_can_be_used(wheels: Path, tmp_path: Path, name: str) -> None:
    """Installed by itself it is consistent, imports, and brings of ours only what it names."""
    clean = CleanEnvironment(tmp_path / "clean", wheels, [name])
    workspace.uv("pip", "check", "-q", "--python", clean.python)
    clean.run(f"import {name.replace('-', '_')}")
    assert clean.installed() & OURS.keys() == workspace.ours_in(name, OURS)


def test_core_is_installed_where_there_is_no_compiler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From its source, which holds all that it takes; it does the same then, without the compiled
    part.
    """
    core = workspace.ROOT / "core"
    workspace.uv("build", "-q", "--no-sources", "--sdist", "--out-dir", tmp_path, core)
    (source,) = tmp_path.glob("eventtracking-*.tar.gz")
    with tarfile.open(source) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {
        "LICENSE",
        "setup.py",
        "src/eventtracking/_data/_compiled.c",
        "src/eventtracking/py.typed",
    } <= names
    monkeypatch.setenv("CC", "false")
    clean = CleanEnvironment(tmp_path / "clean", tmp_path, [str(source)])
    code = (
        "import eventtracking\ntracker = eventtracking.Tracker.from_config({'backends':"
        " {}})\ntracker.emit('x', {'a': [1]})\n"
    )
    assert (
        clean.run(
            f"{code}print(tracker.stats()[''].received, eventtracking._data.copy.IS_COMPILED)"
        )
        == "1 False\n"
    )
