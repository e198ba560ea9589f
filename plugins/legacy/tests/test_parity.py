"""The same emits through event-tracking 4.0.2 and through its successor: each destination receives
the same events.

The predecessor runs in an environment of its own, as its users have it. It is AGPL, so it is run
and never read into ours.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import pytest

from eventtracking_testkit.services.fixtures import leave_out

pytestmark = [
    pytest.mark.service,
    pytest.mark.needs("async_celery", "mongo", "segment"),
]  # it needs a package index, and for one test a server

Received = dict[str, dict[str, list[Any]]]
"""The events of each destination, by layout."""
HERE = Path(__file__).parent / "parity"
ROOT = Path(__file__).parents[3]
PREDECESSOR = ROOT / ".venvs" / "predecessor"
REQUIREMENTS = ("event-tracking==4.0.2", "setuptools<81")
NEEDS = {
    "platform": ("eventtracking-segment",),
    "appended": ("eventtracking-segment",),
    "mongo": ("eventtracking-mongo",),
    "transformer": ("eventtracking-async-celery",),
    "two_async": ("eventtracking-async-celery",),
    "shaped": ("eventtracking-async-celery",),
}
LAYOUTS = (
    "platform",
    "flat",
    "merged",
    "transformer",
    "two_async",
    "appended",
    "in_memory",
    "shaped",
    "subclassed",
)
TIMES = re.compile(r"^\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)$")


def missing_plugin(layout: str) -> str | None:
    """Return a distribution that a layout lacks here."""
    for name in NEEDS.get(layout, ()):
        try:
            distribution(name)
        except PackageNotFoundError:
            return name
    return None


def require_plugins(layout: str) -> None:
    """Leave a test out if its layout lacks a distribution."""
    if (missing := missing_plugin(layout)) is not None:
        leave_out(f"{missing} is not installed, which the layout {layout} needs")


@pytest.fixture(scope="module")
def predecessor() -> Path:
    """The interpreter of an environment with event-tracking 4.0.2."""
    python = PREDECESSOR / "bin" / "python"
    sys.path.append(str(ROOT / "tools"))
    import workspace

    PREDECESSOR.parent.mkdir(exist_ok=True)
    with (PREDECESSOR.parent / "predecessor.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (PREDECESSOR / "complete").exists():
            shutil.rmtree(PREDECESSOR, ignore_errors=True)
            try:
                workspace.uv("venv", "--quiet", "--python", sys.executable, PREDECESSOR)
                workspace.uv("pip", "install", "--quiet", "--python", python, *REQUIREMENTS)
            except (subprocess.CalledProcessError, OSError) as error:
                leave_out(f"the environment of event-tracking 4.0.2 cannot be made: {error}")
            (PREDECESSOR / "complete").touch()
    return python


@pytest.fixture(scope="module")
def both(predecessor: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Received]:
    """The events of each destination of each layout, with event-tracking and here."""
    layouts = [layout for layout in LAYOUTS if missing_plugin(layout) is None]
    folder = tmp_path_factory.mktemp("parity")
    with ThreadPoolExecutor(2) as pool:
        pythons = (predecessor, Path(sys.executable))
        return list(pool.map(lambda python: run(python, layouts, folder), pythons))


def run(python: Path, layouts: Sequence[str], folder: Path, **environment: str) -> Received:
    """Emit the recorded events through layouts; return the events of each destination, as they are
    compared.
    """
    command = [str(python), "-W", "default", str(HERE / "drive.py"), *layouts]
    env = {**os.environ, **environment, "PYTHONPATH": str(HERE)}
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, cwd=folder, env=env, timeout=280
    )
    assert done.returncode == 0, done.stderr
    found: Received = json.loads(done.stdout.splitlines()[-1])
    for layout, received in found.items():
        assert "error" not in received, f"{layout} ended with {received['error']}{done.stderr}"
        for events in received.values():
            events[:] = sorted(map(normal, events), key=str)
    return found


def normal(value: Any) -> Any:
    """Take out the differences between two runs: ids, and the moment of each time."""
    if isinstance(value, dict):
        return {
            key: normal(item) for key, item in sorted(value.items()) if key not in ("id", "_id")
        }
    if isinstance(value, list):
        return [normal(item) for item in value]
    return "a time" if isinstance(value, str) and TIMES.match(value) else value


@pytest.mark.timeout(300)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_destination_receives_the_same(layout: str, both: list[Received]) -> None:
    """A layout found in production gives every destination the same events as before, times and ids
    aside.
    """
    require_plugins(layout)
    before, after = (found[layout] for found in both)
    assert before, "the predecessor delivered nothing, so that nothing was compared"
    assert after == before


@pytest.mark.timeout(180)
def test_mongo_holds_the_same(predecessor: Path, tmp_path: Path, new_mongo_server: Any) -> None:
    """MongoDB beside a logger: the documents are the same, but for their `_id`, which is the
    event's id now.
    """
    require_plugins("mongo")
    import pymongo

    found = []
    mongo_server = new_mongo_server(auth=False)
    with pymongo.MongoClient[dict[str, Any]](mongo_server.uri, tz_aware=True) as client:
        for python in (predecessor, Path(sys.executable)):
            client.drop_database("track")
            port = str(mongo_server.port)
            log = run(python, ["mongo"], tmp_path, MONGO_PORT=port)["mongo"]["log"]
            documents = [
                document
                for name in ("events", "older")
                for document in client["track"][name].find()
            ]
            stored = json.loads(json.dumps(documents, default=str))
            found.append((log, sorted(map(normal, stored), key=str)))
    before, after = found
    assert len(before[1]) == 2 * len(before[0]) > 0
    assert after == before
