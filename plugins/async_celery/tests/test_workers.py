"""Workers of every kind: by the command line, of an application, with several trackers, with
routers below routers.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
import redis
from celery_scenes import SITE, Scene, wait_for
from click.testing import CliRunner
from kombu import Connection, Queue

from eventtracking import Event
from eventtracking.tracker import register_tracker
from eventtracking_async_celery.batch import Batch
from eventtracking_async_celery.commands import dead_letters, worker
from eventtracking_async_celery.registry import owners_in
from eventtracking_async_celery.router import AsyncCeleryRouter

pytestmark = pytest.mark.needs("cli")

EVENT = Event(name="e", timestamp=datetime(2024, 1, 2, tzinfo=timezone.utc), context={}, data={})
PASSWORD = "s3cretPassw0rd"


def test_the_command_line_starts_a_worker(scene: Scene) -> None:
    """`eventtracking worker -c CONFIG` reads the queues of the config's routers on its broker;
    Celery's short options stay Celery's.
    """
    router = scene.router({"store": scene.record()})
    of_the_application = {"plugin": "async_celery", "backends": {"store": scene.record()}}
    file = scene.write({"backends": {"w": router, "x": of_the_application}})
    tracker = scene.tracker({"backends": {"w": router}})
    tracker.emit("e1")
    assert tracker.flush(10)
    command = [sys.executable, "-m", "eventtracking_cli", "worker", "-c", str(file)]
    scene.start(
        [*command, "--concurrency", "1", "-lcritical", "--without-mingle"], None, wait=False
    )
    wait_for(scene.stored)
    assert scene.ids() == ["e1"]


def application(scene: Scene, **changes: Any) -> Path:
    """Write the settings of an application whose trackers have a route each, without
    `broker_url`.
    """
    queues = [scene.queue, f"{scene.queue}b"]
    node = {"plugin": "async_celery", "publish_timeout_s": 2.0}
    stores = {"one": scene.record("one"), "two": scene.record("two")}
    trackers = {
        name: {"backends": {"w": {**node, "queue": queue, "backends": {"store": store}}}}
        for name, queue, store in zip(("default", "second"), queues, stores.values(), strict=True)
    }
    options = {"visibility_timeout": 5} if scene.is_redis else {}
    settings = {"broker_url": scene.broker_url, "transport_options": options, **trackers}
    return scene.write({**settings, **changes})


def run_in_application(script: str, file: Path) -> None:
    env = {**os.environ, "PYTHONPATH": str(SITE), "EVENTTRACKING_CONFIG": str(file)}
    subprocess.run([sys.executable, "-c", script], check=True, env=env, timeout=60)


EMIT = """
import celery_application as application
import eventtracking
eventtracking.tracker.emit("first")
application.second.emit("second")
application.work.delay("from a task")
assert eventtracking.tracker.get_tracker().flush(10)
assert application.second.flush(10)
"""


def test_an_application_with_its_own_app_and_two_trackers(scene: Scene) -> None:
    """Without `broker_url` the application's app is used; each tracker's events arrive at its own
    tree, those of tasks too.
    """
    file = application(scene)
    run_in_application(EMIT, file)
    scene.worker(file, "-Q", f"{scene.queue},{scene.queue}b,celery", app="celery_application")
    wait_for(lambda: len(scene.stored("one")) == 2 and scene.stored("two"))
    assert scene.ids("one") == ["first", "from a task"]
    assert scene.ids("two") == ["second"]
    assert {"task": "'from a task'"} in [event["context"] for event in scene.stored("one")]


EMIT_AND_KEEP = """
import celery_application
import eventtracking
from eventtracking_async_celery.registry import owners_in

tracker = eventtracking.tracker.get_tracker()
eventtracking.tracker.emit("first")
assert tracker.flush(10)
owners_in(tracker)[0].batch_queue().send_message({"format": 99}, 0.0)
"""


@pytest.mark.timeout(180)
def test_an_applications_routes_lead_no_batch_astray(scene: Scene) -> None:
    """A queue with a topic exchange and a routing key of its own, routes for all tasks, transient
    messages: a batch comes and stays where it belongs.
    """
    celery = {"queue": "celery", "exchange": "celery", "routing_key": "celery"}
    conf = {"task_routes": {"*": celery}, "task_default_delivery_mode": "transient"}
    file = application(scene, conf=conf, topic_queues=[scene.queue])
    run_in_application(EMIT_AND_KEEP, file)
    with Connection(scene.broker_url) as connection:
        queue = Queue(scene.queue)(connection)
        message = queue.get()
        assert message.properties["delivery_mode"] == 2
        message.requeue()
        worker = scene.worker(file, "-Q", scene.queue, app="celery_application")
        wait_for(lambda: scene.ids("one") == ["first"] and worker.output().count("succeeded") >= 2)
        assert "stays on the broker: the batch has format 99" in worker.output()
        worker.stop()
        kept = queue if scene.is_redis else Queue(f"{scene.queue}.w7")(connection)
        assert kept.queue_declare(passive=True).message_count == 1
        if scene.is_redis:
            assert (
                connection.default_channel.client.hlen(f"eventtracking.{scene.queue}.copies") == 1
            )


def test_an_application_that_refuses_json_is_told_so(on_redis: Scene) -> None:
    """Its workers would drop every batch, and print it: so events wait, with the reason, and a
    worker says it, too.
    """
    file = application(on_redis, conf={"accept_content": ["application/x-msgpack"]})
    refused = (
        "the Celery app 'application' has accept_content = ['application/x-msgpack'], and batches"
        " are JSON, which its workers would drop: add 'json' to its accept_content"
    )
    run_in_application(EMIT_REFUSED, file)
    worker = on_redis.worker(file, "-Q", on_redis.queue, app="celery_application")
    wait_for(lambda: f"this worker delivers no events: {refused}" in worker.output())


EMIT_REFUSED = """
import celery_application
import eventtracking
from eventtracking.errors import DeliveryError
from eventtracking_async_celery.registry import owners_in

tracker = eventtracking.tracker.get_tracker()
eventtracking.tracker.emit("first")
assert not tracker.flush(0.2)
assert tracker.stats()["w"].pending == 1
try:
    owners_in(tracker)[0].batch_queue().send_message({"format": 99}, 0.0)
except DeliveryError as error:
    assert "add 'json' to its accept_content" in str(error)
else:
    raise AssertionError
tracker.close(0.1)
"""


def test_routers_below_routers(on_redis: Scene) -> None:
    """A worker sends on to another queue, and that worker to a buffer, which a pool process empties
    before it ends.
    """
    buffer = {
        "plugin": "buffer",
        "max_batch_age_s": 3600.0,
        "backends": {"store": on_redis.record()},
    }
    inner = on_redis.router({"b": buffer}, queue=f"{on_redis.queue}inner")
    config = {
        "backends": {"w": on_redis.router({"again": inner, "direct": on_redis.record("direct")})}
    }
    tracker = on_redis.tracker(config)
    tracker.emit("e1")
    assert tracker.flush(10)
    worker = on_redis.worker(on_redis.write(config))
    wait_for(
        lambda: on_redis.worker_counts("w/again/b").received == 1 and on_redis.stored("direct")
    )
    assert on_redis.stored() == []
    worker.stop()
    assert on_redis.ids() == ["e1"]
    assert on_redis.ids("direct") == ["e1"]


def test_no_secret_leaves_the_config(new_scene: Any, new_redis_server: Any) -> None:
    """The password of the broker, and of a backend, are in no message, log, error or text of an
    object.
    """
    server = new_redis_server(password=PASSWORD)
    with redis.Redis.from_url(server.uri) as client:
        scene = new_scene(server.uri)
        store = scene.record(reject_name="bad", password=PASSWORD)
        config = {"backends": {"w": scene.router({"store": store})}}
        tracker = scene.tracker(config)
        tracker.emit("bad")
        tracker.emit("good")
        assert tracker.flush(10)
        seen = [
            client.lrange(scene.queue, 0, -1),
            client.hgetall(f"eventtracking.{scene.queue}.copies"),
        ]
        worker = scene.worker(scene.write(config))
        wait_for(scene.stored)
        wait_for(lambda: client.llen(f"{scene.queue}.dead"))
        seen += [
            client.lrange(f"{scene.queue}.dead", 0, -1),
            worker.output(),
            repr(tracker.stats()),
        ]
    (router,) = owners_in(tracker)
    assert isinstance(router, AsyncCeleryRouter)
    seen += [
        repr(router),
        repr(router.app.conf.broker_transport_options),
        repr(router.batch_queue()),
    ]
    server.stop()
    with pytest.raises(Exception, match="did not confirm") as caught:
        router.batch_queue().publisher.send_dead("q", {})
    seen += [repr(caught.value), str(caught.value), str(caught.value.__cause__)]
    tracker.emit("late")
    tracker.flush(0.2)
    seen.append(repr(tracker.stats()))
    assert "eventtracking.deliver" in worker.output()
    assert all(PASSWORD not in text for text in map(str, seen))


def test_no_event_stands_in_the_workers_log(on_redis: Scene) -> None:
    """What is in an event is printed neither when it is received nor when it fails."""
    config = {
        "backends": {
            "w": on_redis.router(
                {"store": on_redis.record(fail_while=str(on_redis.folder))}, max_attempts=2
            )
        }
    }
    tracker = on_redis.tracker(config)
    tracker.emit("e1", {"who": "Marie Curie"})
    assert tracker.flush(10)
    worker = on_redis.worker(on_redis.write(config), "--loglevel=DEBUG")
    wait_for(
        lambda: (
            "became dead letters at 'w/store': given up after 2 attempts: OSError"
            in worker.output()
        )
    )
    assert "Curie" not in worker.output()


def test_a_worker_does_not_detach() -> None:
    """Celery would start another worker, which has lost the config: the command says so, and what
    to do.
    """
    done = CliRunner().invoke(worker, ["-lcritical", "--detach"])
    assert done.exit_code == 2
    assert (
        "a worker cannot detach itself: Celery would start it anew without the config; leave"
        " --detach out" in done.output
    )


def test_each_tracker_has_its_own_dead_letters(on_redis: Scene) -> None:
    """Two trackers with the same path and queue neither list, replay nor purge each other's."""
    config = {"backends": {"w": on_redis.router({"store": on_redis.record()})}}
    first, second = on_redis.tracker(config), on_redis.tracker(config)
    register_tracker(second, f"second{on_redis.queue}")
    (router,), (other,) = owners_in(first), owners_in(second)
    assert isinstance(router, AsyncCeleryRouter)
    assert isinstance(other, AsyncCeleryRouter)
    name = f"second{on_redis.queue}"
    letter = Batch(
        tracker=name, path="w", events=[EVENT], dead={EVENT.id: "bad"}, leaf="w/store", died_at=1.0
    )
    other.batch_queue().bury(letter)
    assert (router.dead_letters(), router.replay(), router.purge()) == ([], 0, 0)
    assert [each.reason for each in other.dead_letters()] == ["bad"]
    listed = ["list", "-c", str(on_redis.write(config))]
    assert CliRunner().invoke(dead_letters, listed).stdout == ""
    assert CliRunner().invoke(dead_letters, [*listed, "--tracker", name]).output.endswith("bad\n")
    assert other.purge() == 1


def test_dead_letters_by_the_command_line(on_redis: Scene) -> None:
    """`eventtracking celery-dead-letters` lists, replays and purges."""
    config = {"backends": {"w": on_redis.router({"store": on_redis.record(reject_name="bad")})}}
    file = on_redis.write(config)
    tracker = on_redis.tracker(config)
    tracker.emit("bad")
    assert tracker.flush(10)

    def run(*arguments: str) -> str:
        done = CliRunner().invoke(
            dead_letters, [*arguments, "-c", str(file)], catch_exceptions=False
        )
        assert done.exit_code == 0, done.output
        return done.stdout

    worker = on_redis.worker(file)
    wait_for(lambda: "became dead letters" in worker.output())
    (line,) = run("list").splitlines()
    number, _, _, route, _, *rest = line.split("\t")
    assert (route, rest) == ("w/store", ["bad", "1", "a bad name"])
    assert json.loads(run("list", "--json", "--newer-than", "1h"))[0]["number"] == int(number)
    assert json.loads(run("show", number))["event"]["name"] == "bad"
    assert run("list", "--name", "good*") == ""
    assert run("replay", "--route", "w") == "1 events go to the workers again\n"
    wait_for(lambda: worker.output().count("became dead letters") == 2)
    assert len(run("list").splitlines()) == 1
    assert run("purge", "--yes") == "1 dead letters are deleted\n"
    assert run("list") == ""
    assert json.loads(file.read_text()) == config
