"""Workers of every kind: by the command line, of an application, with several trackers, with routers below routers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest
import redis
from celery_scenes import SITE, Scene, wait_for
from click.testing import CliRunner

from eventtracking_async_celery.commands import dead_letters

PASSWORD = "s3cretPassw0rd"


def test_the_command_line_starts_a_worker(scene: Scene) -> None:
    """`eventtracking worker -c CONFIG` reads the queues of the config's routers."""
    config = {"backends": {"w": scene.router({"store": scene.record()})}}
    file = scene.write(config)
    tracker = scene.tracker(config)
    tracker.emit("e1")
    assert tracker.flush(10)
    command = [sys.executable, "-m", "eventtracking_cli", "worker", "-c", str(file)]
    scene.start([*command, "--concurrency", "1", "--loglevel", "INFO", "--without-mingle"], None)
    wait_for(scene.stored)
    assert scene.ids() == ["e1"]


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
    """Without `broker_url` the application's app is used; each tracker's events arrive at its own tree, those of tasks too."""
    queues = [scene.queue, f"{scene.queue}b"]
    node = {"plugin": "async_celery", "publish_timeout_s": 2.0}
    default = {"backends": {"w": {**node, "queue": queues[0], "backends": {"store": scene.record("one")}}}}
    second = {"backends": {"w": {**node, "queue": queues[1], "backends": {"store": scene.record("two")}}}}
    settings = {
        "broker_url": scene.broker_url,
        "transport_options": {"visibility_timeout": 5} if scene.is_redis else {},
        "default": default,
        "second": second,
    }
    file = scene.write(settings)
    env = {**os.environ, "PYTHONPATH": str(SITE), "EVENTTRACKING_CONFIG": str(file)}
    subprocess.run([sys.executable, "-c", EMIT], check=True, env=env, timeout=60)
    scene.worker(file, "-Q", ",".join([*queues, "celery"]), app="celery_application")
    wait_for(lambda: len(scene.stored("one")) == 2 and scene.stored("two"))
    assert scene.ids("one") == ["first", "from a task"]
    assert scene.ids("two") == ["second"]
    assert {"task": "'from a task'"} in [event["context"] for event in scene.stored("one")]


def test_routers_below_routers(on_redis: Scene) -> None:
    """A worker sends on to another queue, and that worker to a buffer, which a pool process empties before it ends."""
    buffer = {"plugin": "buffer", "max_batch_age_s": 3600.0, "backends": {"store": on_redis.record()}}
    inner = on_redis.router({"b": buffer}, queue=f"{on_redis.queue}inner")
    config = {"backends": {"w": on_redis.router({"again": inner, "direct": on_redis.record("direct")})}}
    tracker = on_redis.tracker(config)
    tracker.emit("e1")
    assert tracker.flush(10)
    worker = on_redis.worker(on_redis.write(config))
    wait_for(lambda: on_redis.worker_counts("w/again/b").received == 1 and on_redis.stored("direct"))
    assert on_redis.stored() == []
    worker.stop()
    assert on_redis.ids() == ["e1"]
    assert on_redis.ids("direct") == ["e1"]


def test_no_secret_leaves_the_config(new_scene: Any, new_redis_server: Any) -> None:
    """The password of the broker, and of a backend, are in no message, log, error or text of an object."""
    server = new_redis_server()
    with redis.Redis(port=server.port) as client:
        client.config_set("requirepass", PASSWORD)
        client.execute_command("AUTH", PASSWORD)
        scene = new_scene(f"redis://:{PASSWORD}@127.0.0.1:{server.port}/0")
        store = scene.record(reject_name="bad", password=PASSWORD)
        config = {"backends": {"w": scene.router({"store": store})}}
        tracker = scene.tracker(config)
        tracker.emit("bad")
        tracker.emit("good")
        assert tracker.flush(10)
        seen = [client.lrange(scene.queue, 0, -1), client.hgetall(f"eventtracking.{scene.queue}.copies")]
        worker = scene.worker(scene.write(config))
        wait_for(scene.stored)
        wait_for(lambda: client.llen(f"{scene.queue}.dead"))
        seen += [client.lrange(f"{scene.queue}.dead", 0, -1), worker.output(), repr(tracker.stats())]
    from eventtracking_async_celery.registry import owners_in

    (router,) = owners_in(tracker)
    seen += [repr(router), repr(router.app.conf.broker_transport_options), repr(router.post())]
    server.stop()
    with pytest.raises(Exception, match="did not confirm") as caught:
        router.post().publisher.send_dead("q", {})
    seen += [repr(caught.value), str(caught.value), str(caught.value.__cause__)]
    tracker.emit("late")
    tracker.flush(0.2)
    seen.append(repr(tracker.stats()))
    assert "eventtracking.deliver" in worker.output()
    assert all(PASSWORD not in text for text in map(str, seen))


def test_no_event_stands_in_the_workers_log(on_redis: Scene) -> None:
    """What is in an event is printed neither when it is received nor when it fails."""
    config = {
        "backends": {"w": on_redis.router({"store": on_redis.record(fail_while=str(on_redis.folder))}, max_attempts=2)}
    }
    tracker = on_redis.tracker(config)
    tracker.emit("e1", {"who": "Marie Curie"})
    assert tracker.flush(10)
    worker = on_redis.worker(on_redis.write(config), "--loglevel=DEBUG")
    wait_for(lambda: "became dead letters at 'w/store': given up after 2 attempts: OSError" in worker.output())
    assert "Curie" not in worker.output()


def test_dead_letters_by_the_command_line(on_redis: Scene) -> None:
    """`eventtracking celery-dead-letters` lists, replays and purges."""
    config = {"backends": {"w": on_redis.router({"store": on_redis.record(reject_name="bad")})}}
    file = on_redis.write(config)
    tracker = on_redis.tracker(config)
    tracker.emit("bad")
    assert tracker.flush(10)

    def run(*arguments: str) -> str:
        done = CliRunner().invoke(dead_letters, [*arguments, "-c", str(file)], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

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
