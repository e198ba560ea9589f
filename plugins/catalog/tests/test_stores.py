"""From a stored event, its documentation comes with one query."""

from __future__ import annotations

import json
import os
import secrets
import signal
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from eventtracking import Tracker
from eventtracking_catalog import register
from eventtracking_catalog.registry import registry
from eventtracking_testkit.services.fixtures import RunningService

pytestmark = [
    pytest.mark.needs("async_celery", "buffer", "mongo", "sqlite", "cli"),
    pytest.mark.once,
]

SITE = Path(__file__).parent / "site"
QUERY = """
SELECT event.id, record.data
FROM events AS event LEFT JOIN events AS record
  ON record.name = 'eventtracking.event_type'
 AND json_extract(record.data, '$.schema') = json_extract(event.extra, '$.schema')
WHERE event.name = ?
"""


def in_sqlite(path: Path, name: str) -> list[Any]:
    """The documentation of each stored event of that name; None where there is none."""
    with closing(sqlite3.connect(path)) as store:
        return [record and json.loads(record) for _, record in store.execute(QUERY, (name,))]


def records_in(path: Path) -> int:
    with closing(sqlite3.connect(path)) as store:
        query = "SELECT count(*) FROM events WHERE name = 'eventtracking.event_type'"
        return int(store.execute(query).fetchone()[0])


def behind_a_buffer(folder: Path, backend: dict[str, Any]) -> dict[str, Any]:
    buffer = {"plugin": "buffer", "storage": "disk", "path": str(folder / "buffer")}
    return {
        "processors": [{"plugin": "catalog", "wrong_type": "tag"}],
        "backends": {"durable": {**buffer, "backends": {"store": backend}}},
    }


def sqlite_at(folder: Path) -> dict[str, Any]:
    return {"plugin": "sqlite", "path": str(folder / "store.db")}


def emitting(folder: Path, config: dict[str, Any], count: int, *options: str) -> Any:
    """Start a program that emits."""
    file = folder / "config.json"
    file.write_text(json.dumps(config))
    command = [sys.executable, str(SITE / "emitting.py"), str(file), str(count), *options]
    return subprocess.Popen(command, cwd=folder)


def test_sqlite_through_a_disk_buffer(tmp_path: Path) -> None:
    """Two versions of a type in one store: each event finds the documentation of its own."""
    config = behind_a_buffer(tmp_path, sqlite_at(tmp_path))
    for description, kind in (("The first.", "int"), ("The second.", "str")):
        registry._imported.pop(("event", "stored.versions"), None)
        register("stored.versions", description, {"a": kind})
        with Tracker.from_config(config) as tracker:
            tracker.emit("stored.versions", {"a": 1 if kind == "int" else "x"})
            assert tracker.flush(30)
            counts = tracker.stats()
            assert counts[""].received == 2
            assert all(one.balanced for one in counts.values())
    found = in_sqlite(tmp_path / "store.db", "stored.versions")
    assert [one["description"] for one in found] == ["The first.", "The second."]


@pytest.mark.process
def test_several_processes_at_once(tmp_path: Path) -> None:
    """Each sends its record; the store keeps it once, because all have one id."""
    config = behind_a_buffer(tmp_path, sqlite_at(tmp_path))
    running = [emitting(tmp_path, config, 20) for _ in range(3)]
    assert [one.wait(60) for one in running] == [0, 0, 0]
    found = in_sqlite(tmp_path / "store.db", "stored.enrolled")
    assert len(found) == 60
    assert {one["description"] for one in found} == {"A learner enrolled."}
    assert records_in(tmp_path / "store.db") == 1


@pytest.mark.process
def test_killed_between_an_event_and_its_record(tmp_path: Path) -> None:
    """After one further emit in another process, the event of the killed one is documented, too."""
    config = behind_a_buffer(tmp_path, sqlite_at(tmp_path))
    assert emitting(tmp_path, config, 1, "kill").wait(60) == -signal.SIGKILL
    with Tracker.from_config(config) as tracker:
        assert tracker.flush(30)
    assert in_sqlite(tmp_path / "store.db", "stored.enrolled") == [None]
    assert emitting(tmp_path, config, 1).wait(60) == 0
    found = in_sqlite(tmp_path / "store.db", "stored.enrolled")
    assert [one["owner"] for one in found] == ["learning", "learning"]


def test_mongodb_through_a_disk_buffer(tmp_path: Path, mongo_server: RunningService) -> None:
    """One aggregation joins an event with its record."""
    from pymongo import MongoClient

    database = "test_" + secrets.token_hex(4)
    mongo = {"plugin": "mongo", "uri": mongo_server.uri, "database": database}
    config = behind_a_buffer(tmp_path, mongo)
    running = [emitting(tmp_path, config, 5) for _ in range(2)]
    assert [one.wait(60) for one in running] == [0, 0]
    join = {
        "from": "events",
        "localField": "schema",
        "foreignField": "data.schema",
        "as": "documentation",
    }
    with MongoClient[dict[str, Any]](mongo_server.uri) as client:
        events = client[database].events
        stages = [{"$match": {"name": "stored.enrolled"}}, {"$lookup": join}]
        found = list(events.aggregate(stages))
    assert len(found) == 10
    for one in found:
        (record,) = one["documentation"]
        assert record["data"]["fields"]["course"]["description"] == "The course."


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Callable[[Path], None]]:
    """Start Celery workers, which end with the test."""
    running = []

    def start(config: Path) -> None:
        command = ["-m", "celery", "-A", "eventtracking_async_celery.worker", "worker"]
        quiet = ["--concurrency=1", "--without-gossip", "--without-mingle", "--without-heartbeat"]
        name = f"--hostname={uuid.uuid4().hex}@%h"
        environment = {**os.environ, "EVENTTRACKING_CONFIG": str(config)}
        with (tmp_path / "worker.log").open("wb") as log:
            running.append(
                subprocess.Popen(
                    [sys.executable, *command, *quiet, name],
                    env={**environment, "PYTHONWARNINGS": "ignore"},
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    cwd=tmp_path,
                )
            )

    yield start
    for one in running:
        one.terminate()
        one.wait(30)


@pytest.mark.service
@pytest.mark.timeout(180)
@pytest.mark.parametrize("broker", ["redis_server", "rabbitmq_server"])
def test_through_celery(
    broker: str,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    worker: Callable[[Path], None],
) -> None:
    """Events and records take the same way, to a worker that has no declarations."""
    server: RunningService = request.getfixturevalue(broker)
    celery = {
        "plugin": "async_celery",
        "broker_url": server.uri,
        "queue": f"q{uuid.uuid4().hex[:8]}",
        "backends": {"store": sqlite_at(tmp_path)},
    }
    config = behind_a_buffer(tmp_path, celery)
    file = tmp_path / "config.json"
    assert emitting(tmp_path, config, 5).wait(60) == 0
    worker(file)
    wait_for(lambda: (tmp_path / "store.db").exists() and has_all(tmp_path / "store.db"))
    found = in_sqlite(tmp_path / "store.db", "stored.enrolled")
    assert [one["description"] for one in found] == ["A learner enrolled."] * 5


def has_all(path: Path) -> bool:
    with closing(sqlite3.connect(path)) as store:
        tables = store.execute("SELECT count(*) FROM sqlite_master WHERE name = 'events'")
        if tables.fetchone()[0] == 0:
            return False
        return int(store.execute("SELECT count(*) FROM events").fetchone()[0]) == 6


def wait_for(condition: Callable[[], bool], timeout_s: float = 60) -> None:
    import time

    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.1)


@pytest.mark.timeout(180)
@pytest.mark.process
def test_a_dead_letter_is_replayed_after_the_declaration_is_mended(tmp_path: Path) -> None:
    """It is refused again as long as it does not conform."""
    config = behind_a_buffer(tmp_path, sqlite_at(tmp_path))
    store = config["backends"]["durable"]["backends"]["store"]
    store["processors"] = [{"plugin": "catalog", "wrong_type": "dead_letter"}]
    file = tmp_path / "declared.json"
    config["processors"][0]["files"] = [str(file)]

    def declare(kind: str) -> None:
        tables = {"stored.mended": {"fields": {"a": kind}}}
        file.write_text(json.dumps({"events": tables}))

    def letters() -> int:
        (tmp_path / "config.json").write_text(json.dumps(config))
        with Tracker.from_config(config) as tracker:
            assert tracker.flush(30)
            return tracker.stats()["durable/store"].dead_lettered

    def replay() -> None:
        (tmp_path / "config.json").write_text(json.dumps(config))
        command = ["-m", "eventtracking_cli", "dead-letters", "replay"]
        options = ["-c", str(tmp_path / "config.json")]
        subprocess.run([sys.executable, *command, *options], check=False, capture_output=True)

    declare("int")
    with Tracker.from_config(config) as tracker:
        tracker.emit("stored.mended", {"a": "text"})
        assert tracker.flush(30)
        assert tracker.stats()["durable/store"].dead_lettered == 1
    replay()
    assert letters() == 1
    declare("str")
    replay()
    assert letters() == 0
    assert len(in_sqlite(tmp_path / "store.db", "stored.mended")) == 1
