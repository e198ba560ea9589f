"""The broker, the workers and the store fail under load, and nothing is lost."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import attrs
import pytest
from trial_crew import Crew
from trial_load import Load
from trial_tools import disk_buffer, wait_for

from eventtracking import Tracker
from eventtracking_testkit.services import MongoServer, RabbitMQServer, RedisServer, TcpProxy
from eventtracking_testkit.services.fixtures import RunningService

pytestmark = pytest.mark.needs("async_celery", "logger", "mongo")

Broker = RedisServer | RabbitMQServer

EVENTS_PER_S = 300
MEASURED = 800
BLACK_HOLE_FACTOR = 3


@attrs.frozen(kw_only=True)
class Length:
    """How long each part of the trial takes, in seconds."""

    calm_s: float
    broker_down_s: float
    store_down_s: float
    kill_every_s: float


SHORT = Length(calm_s=1.0, broker_down_s=4.0, store_down_s=1.5, kill_every_s=2.5)
LONG = Length(calm_s=20.0, broker_down_s=60.0, store_down_s=30.0, kill_every_s=8.0)
LENGTHS = [
    pytest.param(SHORT, id="short", marks=pytest.mark.timeout(180)),
    pytest.param(LONG, id="long", marks=[pytest.mark.soak, pytest.mark.timeout(1800)]),
]


@pytest.fixture(params=["redis", "rabbitmq"])
def broker(request: pytest.FixtureRequest) -> Broker:
    """A broker that keeps what it has confirmed, to be stopped."""
    options = {"persistent": True} if request.param == "redis" else {}
    server: Broker = request.getfixturevalue(f"new_{request.param}_server")(**options)
    return server


@pytest.fixture(params=["redis", "rabbitmq"])
def shared_broker(request: pytest.FixtureRequest) -> RunningService:
    """A broker that others use too."""
    server: RunningService = request.getfixturevalue(f"{request.param}_server")
    return server


@pytest.fixture
def new_tracker() -> Iterator[Callable[[dict[str, Any]], Tracker]]:
    """Make trackers that are closed at the end."""
    made: list[Tracker] = []

    def make(node: dict[str, Any]) -> Tracker:
        made.append(Tracker.from_config({"backends": {"kept": node}}))
        return made[-1]

    yield make
    for tracker in made:
        tracker.close(1)


def workers_node(broker_url: str, backends: dict[str, Any]) -> dict[str, Any]:
    """A node that soon tries again, and soon gives a killed worker's batch to another."""
    node: dict[str, Any] = {
        "plugin": "async_celery",
        "broker_url": broker_url,
        "queue": f"trial.{uuid.uuid4().hex}",
        "backends": backends,
    }
    if broker_url.startswith("redis"):
        node["visibility_timeout_s"] = 3.0
    return {
        **node,
        "publish_timeout_s": 2.0,
        "min_retry_s": 0.2,
        "max_retry_s": 1.5,
        "max_attempts": 1_000,
    }


@pytest.mark.parametrize("length", LENGTHS)
def test_emitted_is_stored(
    broker: Broker,
    new_mongo_server: Callable[[], MongoServer],
    new_tracker: Callable[[dict[str, Any]], Tracker],
    tmp_path: Path,
    length: Length,
) -> None:
    """The broker is stopped, workers are killed, the store is killed; in the end what was emitted
    is stored, each event once.
    """
    store = new_mongo_server()
    archive = {"plugin": "mongo", "uri": store.uri, "timeout_s": 2.0}
    node = disk_buffer(
        tmp_path / "buffer", {"workers": workers_node(broker.uri, {"archive": archive})}
    )
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"backends": {"kept": node}}))
    tracker = new_tracker(node)
    with Crew(config, tmp_path, length.kill_every_s).at_work() as crew:
        with Load(tracker, EVENTS_PER_S).running() as load:
            fail_one_after_another(broker, store, length)
        crew.spare()
        assert tracker.flush(60), tracker.stats()
        check_books(tracker, load.count)
        check_store(store, load.count)
        check_worker_books(crew)
    assert crew.killed > 0


def fail_one_after_another(broker: Broker, store: MongoServer, length: Length) -> None:
    """Stop the broker, then kill the store, so that for a moment both are away."""
    time.sleep(length.calm_s)
    broker.stop()
    time.sleep(length.broker_down_s)
    store.kill()
    broker.start()
    time.sleep(length.store_down_s)
    store.start()
    time.sleep(length.calm_s)


def check_store(store: MongoServer, count: int) -> None:
    """Every event arrives, and none is there twice."""
    with store.client() as client:
        events = client["eventtracking"]["events"]
        # not the estimated count: after a kill it may be wrong for good
        wait_for(lambda: events.count_documents({}) >= count, "all that was emitted is stored", 90)
        assert sorted(document["data"]["n"] for document in events.find()) == list(range(count))


def check_books(tracker: Tracker, count: int) -> None:
    """The law where the events were emitted: all of them went to the broker."""
    counts = tracker.stats()["kept"]
    assert counts.balanced
    assert (counts.received, counts.delivered) == (count, count), counts


def check_worker_books(crew: Crew) -> None:
    """The law in every worker process, of those that were killed as they last wrote it down."""
    found = [
        counts for path in ("kept/workers", "kept/workers/archive") for counts in crew.counts(path)
    ]
    assert all(counts.balanced for counts in found), found
    assert all(counts.failed == counts.dead_lettered == 0 for counts in found), found
    assert sum(counts.delivered for counts in found) > 0


@pytest.mark.process
@pytest.mark.parametrize("storage", ["memory", "disk"])
def test_a_silent_broker_costs_the_caller_little(
    shared_broker: RunningService,
    new_tcp_proxy: Callable[[int], TcpProxy],
    new_tracker: Callable[[dict[str, Any]], Tracker],
    tmp_path: Path,
    storage: str,
) -> None:
    """While the broker swallows what it is sent, the median emit() costs no more than three times
    its normal.
    """
    proxy = new_tcp_proxy(shared_broker.port)
    url = shared_broker.uri.replace(f":{shared_broker.port}", f":{proxy.port}")
    workers = workers_node(url, {"nowhere": {"plugin": "logger", "name": "trial"}})
    node = (
        workers if storage == "memory" else disk_buffer(tmp_path / "buffer", {"workers": workers})
    )
    tracker = new_tracker(node)
    normal_s = cost_of_emit_s(tracker)
    wait_for(lambda: tracker.stats()["kept"].delivered > 0, "the broker has confirmed something")
    proxy.black_hole()
    silent_s = cost_of_emit_s(tracker)
    assert silent_s <= BLACK_HOLE_FACTOR * normal_s, (silent_s, normal_s)
    proxy.let_pass()
    assert tracker.flush(60), tracker.stats()
    counts = tracker.stats()["kept"]
    assert (counts.received, counts.delivered) == (2 * MEASURED, 2 * MEASURED), counts


def cost_of_emit_s(tracker: Tracker) -> float:
    """The median of many emits, spread over a few seconds, so that the other threads have their
    turns.
    """
    costs = []
    for number in range(MEASURED):
        started = time.perf_counter()
        tracker.emit("trial.cost", {"n": number})
        costs.append(time.perf_counter() - started)
        time.sleep(0.001)
    return median(costs)
