"""The parts, without a broker: the message, the waits, the memory before the broker, and what a
config may say.
"""

from __future__ import annotations

import base64
import json
import pickle
import subprocess
import sys
import tracemalloc
import uuid
import zlib
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from celery_scenes import SITE

from eventtracking import ConfigError, Counts, Event, Outcome, Rejected, Tracker
from eventtracking.config.options import options_of
from eventtracking.errors import DeliveryError
from eventtracking_async_celery.apps import own_app
from eventtracking_async_celery.backoff import Backoff
from eventtracking_async_celery.batch import Batch
from eventtracking_async_celery.envelope import BatchFormatError, Envelope
from eventtracking_async_celery.memory import MemoryBuffer
from eventtracking_async_celery.options import url_problem
from eventtracking_async_celery.publisher import PublishError, publisher_for
from eventtracking_async_celery.registry import owners_in
from eventtracking_async_celery.router import AsyncCeleryRouter
from eventtracking_async_celery.startup import choose_app

pytestmark = pytest.mark.needs("logger")

LOGGER = {"plugin": "logger"}
EVENT = Event(
    name="edx.course.enrollment.activated",
    timestamp=datetime(2024, 1, 2, tzinfo=timezone.utc),
    context={"user_id": uuid.UUID(int=1)},
    data={"bytes": b"\x00", "big": 1 << 90},
    extra={"version": 2},
)


@pytest.mark.parametrize("compression", ["none", "zlib"])
def test_a_batch_comes_back_from_json(compression: Any) -> None:
    """What a message says survives JSON, whole."""
    batch = Batch(
        tracker="second",
        path="a/b",
        events=[EVENT],
        attempt=3,
        lost=2,
        first_at=12.5,
        progress={EVENT.id: {"a/b/x": Outcome.PENDING, "a/b/y": Outcome.DELIVERED}},
        dead={EVENT.id: "bad"},
        leaf="a/b/x",
        died_at=13.5,
    )
    back = Batch.unpack(json.loads(json.dumps(batch.pack(compression))))
    for name in (
        "tracker",
        "path",
        "attempt",
        "lost",
        "first_at",
        "progress",
        "dead",
        "leaf",
        "died_at",
    ):
        assert getattr(back, name) == getattr(batch, name), name
    assert list(back.events) == [EVENT]
    assert back.pending_leaves() == {"a/b/x"}
    assert back.tries == 5


def test_a_batch_for_one_leaf_is_over_at_the_others() -> None:
    """What is set apart for a leaf, or replayed there, is pending at it and nowhere else."""
    progress = {
        EVENT.id: {"w/g/x": Outcome.PENDING, "w/g/y": Outcome.PENDING, "w/z": Outcome.DELIVERED}
    }
    batch = Batch(
        tracker="default", path="w", events=[EVENT], attempt=3, progress=progress
    ).only_at("w/g/x", [EVENT])
    assert (batch.leaf, batch.attempt) == ("w/g/x", 3)
    assert batch.progress == {
        EVENT.id: {"w/g/x": Outcome.PENDING, "w/g/y": Outcome.FILTERED, "w/z": Outcome.DELIVERED}
    }


def test_a_message_counts_attempts_without_being_read() -> None:
    """A worker may have died of its events, so that the count grows beside them; one of before has
    none.
    """
    message = Batch(tracker="default", path="w", events=[EVENT], attempt=1).pack("none")
    del message["lost"]
    later = Envelope.read(message).tried(lost=2).tried(attempts=1)
    assert (later.attempt, later.lost) == (2, 2)
    assert later.first_at > 0
    assert later.body == message["body"]


def test_a_batch_of_similar_events_is_small() -> None:
    """Compression pays: a hundred events take less than a third of their size."""
    batch = Batch(
        tracker="default", path="w", events=[EVENT.replace(id=str(number)) for number in range(100)]
    )
    assert len(batch.pack("zlib")["body"]) * 3 < len(batch.pack("none")["body"])


GOOD = Batch(tracker="default", path="w", events=[EVENT]).pack("zlib")
LATER = "the batch has format 3, and this version of eventtracking-async-celery reads 2"


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"format": 3, "secret": "Curie"}, LATER),
        ("Curie", "the batch is damaged: it has no format"),
        (None, "the batch is damaged: it has no format"),
        ({"format": {"who": "Curie"}}, "the batch is damaged: it has no format"),
        ({"format": True}, "the batch is damaged: it has no format"),
        ({"format": 1}, "the batch is damaged: 'tracker' is missing or wrong"),
        ({**GOOD, "attempt": "Curie"}, "the batch is damaged: 'attempt' is missing or wrong"),
        ({**GOOD, "lost": -1}, "the batch is damaged: 'lost' is missing or wrong"),
        (
            {**GOOD, "first_at": float("nan")},
            "the batch is damaged: 'first_at' is missing or wrong",
        ),
        ({**GOOD, "leaf": ["Curie"]}, "the batch is damaged: 'leaf' is missing or wrong"),
        (
            {**GOOD, "compression": "Curie"},
            "the batch is damaged: 'compression' is missing or wrong",
        ),
        ({**GOOD, "body": "Curie"}, "the batch is damaged: its body cannot be unpacked"),
        (
            {**GOOD, "compression": "none"},
            "the batch is damaged: its body cannot be read",
        ),
    ],
)
def test_what_cannot_be_read_is_named(message: Any, text: str) -> None:
    """The error tells the place, and nothing of the content; it pickles."""
    with pytest.raises(BatchFormatError) as caught:
        Batch.unpack(message)
    assert str(caught.value) == text
    assert str(pickle.loads(pickle.dumps(caught.value))) == text
    assert caught.value.damaged is (text != LATER)


def test_a_body_is_unpacked_up_to_a_limit() -> None:
    """A kilobyte that unpacks to a gigabyte is never unpacked whole."""
    bomb = base64.b64encode(zlib.compress(bytes(50_000_000), 9)).decode()
    tracemalloc.start()
    try:
        with pytest.raises(BatchFormatError, match="more than 1,000,000 bytes"):
            Batch.unpack({**GOOD, "body": bomb}, 1_000_000)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()
    assert Batch.unpack(GOOD, 1_000_000).events == [EVENT]


def test_the_wait_grows_to_its_limit() -> None:
    """Each wait is random, below a bound that doubles up to the longest one, however many attempts
    there were.
    """
    backoff = Backoff(min_s=1.0, max_s=10.0)
    for attempt, bound in [(1, 1.0), (2, 2.0), (4, 8.0), (5, 10.0), (5000, 10.0)]:
        waits = [backoff.delay_s(attempt) for _ in range(200)]
        assert 0 <= min(waits) < bound / 4
        assert bound * 3 / 4 < max(waits) <= bound


def test_no_wait_is_longer_than_half_the_visibility_timeout() -> None:
    """Redis would give a waiting batch to a second worker."""
    node = {
        "plugin": "async_celery",
        "broker_url": "redis://localhost:1/7",
        "visibility_timeout_s": 60.0,
    }
    with Tracker.from_config({"backends": {"w": {**node, "backends": {"log": LOGGER}}}}) as tracker:
        (router,) = owners_in(tracker)
        assert router.backoff.max_s == 30.0


def test_memory_refuses_what_it_has_no_room_for() -> None:
    """With the broker away, events beyond the limit are failed, with the reason, and the rest
    waits.
    """

    def away(events: object) -> dict[str, str]:
        raise PublishError("broker", "q", "TimeoutError")

    buffer = MemoryBuffer("w", away, max_events=10, max_batch_events=5)
    buffer.open()
    for number in range(10):
        buffer.send([EVENT.replace(id=str(number))])
    with pytest.raises(Rejected, match="full"):
        buffer.send([EVENT.replace(id="one more")])
    counts = buffer.counts()
    assert counts.balanced
    assert counts.pending == 10
    buffer.close()


def problems_of(node: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        Tracker.from_config(
            {"backends": {"w": {"plugin": "async_celery", "backends": {"log": LOGGER}, **node}}}
        )
    return str(caught.value)


def test_wrong_options_are_named_without_the_url() -> None:
    """The broker's URL may hold a password: no error quotes it."""
    text = problems_of({"broker_url": "carrier-pigeon://me:s3cret@roof"})
    assert (
        text
        == "the config has 1 problem:\n  backends.w.broker_url: expected the URL of a broker, such"
        " as redis://host:6379/0 or amqp://host:5672//"
    )
    assert "s3cret" not in problems_of({"broker_url": ["s3cret"]})
    text = problems_of({"visibility_timeout_s": 5})
    assert "backends.w.visibility_timeout_s: it belongs to `broker_url`" in text


def test_no_queue_has_a_name_that_brokers_refuse() -> None:
    """AMQP allows 255 bytes, and `.dead` is added."""
    text = problems_of({"broker_url": "redis://h:1/1", "queue": "ü" * 126})
    assert (
        "backends.w.queue: found 252 bytes of UTF-8; expected at most 250, because '.dead' is added"
        in text
    )
    assert "backends.w.queue: expected text without lone surrogates" in problems_of(
        {"queue": "\ud800"}
    )


def test_an_empty_url_is_none() -> None:
    """It is what a shell makes of a variable that is not set; it does not mean a broker on this
    machine.
    """
    text = problems_of({"broker_url": ""})
    assert (
        "backends.w.broker_url: it is empty; expected the URL of a broker, such as"
        " redis://host:6379/0 or amqp" in text
    )
    assert text.endswith("or leave it out to use the application's Celery app")


@pytest.mark.parametrize(
    ("url", "module", "text"),
    [
        (
            "redis://h/0",
            "redis",
            "the driver is missing; pip install 'eventtracking-async-celery[redis]'",
        ),
        (
            "rediss://h/0",
            "redis",
            "the driver is missing; pip install 'eventtracking-async-celery[redis]'",
        ),
        (
            "zookeeper://h",
            "kazoo",
            "The kazoo library is not installed; install what kombu needs for this transport",
        ),
    ],
)
def test_a_missing_driver_is_named(
    monkeypatch: pytest.MonkeyPatch, url: str, module: str, text: str
) -> None:
    """The error says what to install; that is redis for Redis alone."""
    monkeypatch.setitem(sys.modules, module, None)  # as where it is not installed
    assert url_problem(url) == text


def test_a_worker_gives_up_a_silent_redis() -> None:
    """Every wait of a worker for Redis ends: longer than Redis itself waits, shorter than anybody
    would.
    """
    options = own_app("redis://h:1/9", 300.0).conf.broker_transport_options
    assert 5 < options["socket_timeout"] < 60
    assert 5 < options["socket_connect_timeout"] < 60
    assert 0 < options["health_check_interval"] < 25


def test_what_workers_would_drop_is_not_published() -> None:
    """An app that does not accept JSON is named, with its setting, and what to do."""
    app = Celery("shop", broker="memory://", set_as_current=False)
    app.conf.accept_content = ["application/x-msgpack"]
    with pytest.raises(DeliveryError) as caught:
        publisher_for(app).send_task("q", {"format": 1})
    assert (
        str(caught.value)
        == "the Celery app 'shop' has accept_content = ['application/x-msgpack'], and batches are"
        " JSON, which its workers would drop: add 'json' to its accept_content"
    )


def test_a_tracker_without_such_a_router_has_no_worker() -> None:
    """The error tells what is there, and what to do."""
    with pytest.raises(ConfigError, match="no async_celery router in the config; found none"):
        choose_app(Tracker.from_config({"backends": {"log": LOGGER}}))
    applications = Tracker.from_config(
        {"backends": {"w": {"plugin": "async_celery", "backends": {"log": LOGGER}}}}
    )
    with pytest.raises(ConfigError, match="celery -A <application> worker -Q eventtracking"):
        choose_app(applications)


def test_a_worker_serves_one_broker() -> None:
    """With several brokers the route is named; all queues of its broker are read."""
    nodes = {
        name: {
            "plugin": "async_celery",
            "broker_url": url,
            "queue": name,
            "backends": {"log": LOGGER},
        }
        for name, url in [("a", "redis://h:1/1"), ("b", "redis://h:1/1"), ("c", "redis://h:1/2")]
    }
    tracker = Tracker.from_config({"backends": nodes})
    with pytest.raises(
        ConfigError, match="a worker serves one broker, and the config names several; found a, b, c"
    ):
        choose_app(tracker)
    app = choose_app(tracker, "a")
    assert [queue.name for queue in app.conf.task_queues] == ["a", "b"]
    with pytest.raises(ConfigError, match="no async_celery router at 'x'"):
        choose_app(tracker, "x")


def test_the_router_counts_in_both_places() -> None:
    """Before the broker, with or without a memory buffer, it counts its own path, and the routes
    below it in a worker.
    """
    node = {"plugin": "async_celery", "broker_url": "memory://", "backends": {"log": LOGGER}}
    config = {"backends": {"top": node, "b": {"plugin": "buffer", "backends": {"w": node}}}}
    with Tracker.from_config(config) as tracker:
        for name in ("e1", "e2"):
            tracker.emit(name)
        assert tracker.flush(10)
        stats = tracker.stats()
        for path in ("top", "b/w"):
            assert stats[path] == Counts(received=2, delivered=2), path
        for path in ("top/log", "b/w/log"):
            assert stats[path] == Counts(), path


def test_limits_of_a_message_and_of_memory() -> None:
    """An event that is too large becomes a dead letter; one without room in memory fails."""
    node = {"plugin": "async_celery", "broker_url": "memory://", "backends": {"log": LOGGER}}
    config = {"backends": {"w": {**node, "max_unpacked_bytes": 1_000_000}}}
    with Tracker.from_config(config) as tracker:
        tracker.emit("large", {"text": "x" * 2_000_000})
        tracker.emit("small")
        assert tracker.flush(10)
        counts = tracker.stats()["w"]
    assert (counts.received, counts.delivered, counts.dead_lettered) == (2, 1, 1)
    assert any("max_unpacked_bytes" in reason for reason in counts.reasons)
    away = {"broker_url": "redis://127.0.0.1:1/0", "publish_timeout_s": 0.2}
    full = Tracker.from_config({"backends": {"w": {**node, **away, "max_buffered_events": 2}}})
    for _ in range(5):
        full.emit("x")
    assert full.stats()["w"].failed == 3
    full.close(0.5)


NO_APP = """
import threading
from eventtracking_async_celery.apps import application_app
from celery import Celery

def found():
    try:
        print(application_app().main)
    except Exception as error:
        print(error)

def found_elsewhere():
    thread = threading.Thread(target=found)
    thread.start()
    thread.join()

found_elsewhere()
first = Celery("first")
found_elsewhere()
second = Celery("second")
found()
found_elsewhere()
second.set_default()
found_elsewhere()
"""


@pytest.mark.timeout(180)
@pytest.mark.process
def test_the_applications_app_is_found_from_any_thread() -> None:
    """Celery's current app belongs to a thread; the one that publishes finds the only one, or the
    default, and never a made-up one.
    """
    done = subprocess.run(
        [sys.executable, "-c", NO_APP], check=True, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.splitlines() == [
        (
            "there is no Celery app in this process: give `broker_url`, or import the module that"
            " makes the app"
        ),
        "first",
        "second",
        (
            "there are several Celery apps in this process: call set_default() of the one whose"
            " broker is meant"
        ),
        "second",
    ]


EAGER = """
from celery import Celery
from eventtracking import Tracker

app = Celery("tests", broker="redis://127.0.0.1:1/0")
app.conf.task_always_eager = True
node = {"plugin": "async_celery", "backends": {"store": {"plugin": "record", "path": "store"}}}
import eventtracking
tracker = eventtracking.configure({"backends": {"w": node}})
tracker.emit("e1")
assert tracker.flush(10)
stats = tracker.stats()
print(stats["w"].delivered, stats["w/store"].delivered, len(open("store").readlines()))
"""


@pytest.mark.timeout(180)
@pytest.mark.process
def test_eager_tasks_need_no_broker(tmp_path: Path) -> None:
    """In an application's own tests, with task_always_eager, batches are delivered at once, in the
    same process.
    """
    command = [sys.executable, "-W", "error", "-c", EAGER]
    done = subprocess.run(
        command,
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
        env={"PYTHONPATH": str(SITE)},
    )
    assert done.stdout == "1 1 1\n"


BROKEN = EAGER.replace(
    "import eventtracking\n",
    """
import eventtracking
from eventtracking_async_celery.delivery import Delivery

run, left = Delivery.run, [2]

def broken(self):
    left[0] -= 1
    if left[0] >= 0:
        raise RuntimeError
    run(self)

Delivery.run = broken
""",
)


@pytest.mark.process
def test_what_nobody_thought_of_costs_an_attempt(tmp_path: Path) -> None:
    """An error of the worker itself does not bring the same batch back at once, for ever: it is
    tried later, as a failed one is.
    """
    command = [sys.executable, "-W", "error", "-c", BROKEN]
    done = subprocess.run(
        command,
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
        env={"PYTHONPATH": str(SITE)},
    )
    assert done.stdout == "1 1 1\n"
    assert done.stderr.count("unforeseen error; will retry later") == 2


OTHER_BROKER = """
from eventtracking_async_celery.apps import own_app

app = own_app("redis://mine:1/3", 5.0)
for connection in (app.connection_for_read(), app.connection_for_write(), app.connection()):
    print(connection.as_uri())
"""


@pytest.mark.timeout(180)
@pytest.mark.process
def test_the_environment_does_not_change_the_broker() -> None:
    """CELERY_BROKER_URL is for the application's app."""
    env = {"CELERY_BROKER_URL": "redis://other:1/4"}
    command = [sys.executable, "-c", OTHER_BROKER]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60, env=env)
    assert done.stdout.splitlines() == ["redis://:**@mine:1/3"] * 3


def test_the_readme_has_every_option() -> None:
    """Its table has each option with its default, in the order of the class."""
    readme = (SITE.parents[1] / "README.md").read_text()
    table = readme.partition("## Options")[2].partition("\n## ")[0]
    rows = [line.split("|")[1:3] for line in table.splitlines() if line.startswith("| `")]
    told = {name.strip(" `"): default.strip(" `") for name, default in rows}
    expected = {
        option.name: (
            "none" if option.default is None else json.dumps(option.default).removesuffix(".0")
        )
        for option in options_of(AsyncCeleryRouter).values()
    }
    assert list(told.items()) == list(expected.items())


def test_importing_the_plugin_connects_nothing(tmp_path: Path) -> None:
    """A config whose broker is unreachable is accepted at once, and emitting is not
    slowed by it.
    """
    node = {
        "plugin": "async_celery",
        "broker_url": "redis://127.0.0.1:1/0",
        "backends": {"log": LOGGER},
    }
    tracker = Tracker.from_config({"backends": {"w": node}})
    assert tracker.open() == {}
    tracker.emit("e1")
    assert tracker.stats()["w"].pending == 1
    tracker.close(0.1)
    counts = tracker.stats()["w"]
    assert (counts.failed, counts.pending, counts.balanced) == (1, 0, True)
