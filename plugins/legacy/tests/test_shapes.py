"""Data of any shape comes through Celery workers on a real broker as it was emitted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

pytestmark = [
    pytest.mark.process,
    pytest.mark.service,
    pytest.mark.once,
    pytest.mark.needs("async_celery", "buffer", "mongo"),
]

SITE: Final = Path(__file__).parent / "shapes"
GIVEN: Final[list[Any]] = [
    "input_1=choice_0&input_2=b",
    '{"is": "text"}',
    ["a", {"k": [1, {}]}],
    [[], ""],
    5,
    True,
    {"value": "x"},
    {"value": {"value": []}},
    {"_legacy": {"bare": True}, "value": 1},
    {"a": 1},
    "",
    [],
    {},
    None,
    0,
]
WRITTEN: Final = {str(number): given or {} for number, given in enumerate(GIVEN)}


@contextmanager
def worker(env: dict[str, str], log: Path) -> Iterator[None]:
    """Run a prefork worker for the length of a `with` block."""
    command = [sys.executable, "-m", "celery", "-A", "shapes_site", "worker", "--concurrency=1"]
    command += ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel=INFO"]
    with log.open("w") as out:
        process = subprocess.Popen(command, env=env, cwd=SITE, stdout=out, stderr=out)
        try:
            yield
        finally:
            process.terminate()
            process.wait()


def in_file(path: Path) -> dict[str, Any]:
    """Return the data of each event in a file, by name; a line that is being written waits."""
    whole = path.read_text(encoding="utf-8").rpartition("\n")[0] if path.exists() else ""
    events = [json.loads(line) for line in whole.splitlines()]
    return {event["name"]: event["data"] for event in events}


@pytest.mark.timeout(180)
def test_data_keeps_its_shape_in_workers(
    new_redis_server: Any, mongo_server: Any, tmp_path: Path
) -> None:
    """Text, lists, numbers and dicts reach a log, MongoDB and the site's own backend below an
    asynchronous router as they were emitted, and MongoDB behind a buffer in memory, too.
    """
    import pymongo

    database = f"shapes_{uuid.uuid4().hex}"
    env = {
        **os.environ,
        "PYTHONPATH": str(SITE),
        "PYTHONWARNINGS": "ignore",
        "SHAPES_FOLDER": str(tmp_path),
        "SHAPES_REDIS": new_redis_server().uri,
        "SHAPES_MONGO": mongo_server.uri,
        "SHAPES_DATABASE": database,
    }
    with worker(env, tmp_path / "worker.log"), pymongo.MongoClient[Any](mongo_server.uri) as client:
        code = "import shapes_site; shapes_site.emit()"
        subprocess.run(
            [sys.executable, "-c", code],
            check=True,
            env=env,
            cwd=SITE,
            input=json.dumps(GIVEN),
            text=True,
        )

        def found() -> dict[str, dict[str, Any]]:
            stored = {
                name: {one["name"]: one["data"] for one in client[database][name].find()}
                for name in ("request", "worker")
            }
            return {**stored, **{name: in_file(tmp_path / name) for name in ("log", "own")}}

        deadline = time.monotonic() + 120
        while not all(len(one) == len(GIVEN) for one in found().values()):
            assert time.monotonic() < deadline, (found(), (tmp_path / "worker.log").read_text())
            time.sleep(0.1)
        assert found() == dict.fromkeys(("request", "worker", "log", "own"), WRITTEN)
        client.drop_database(database)
