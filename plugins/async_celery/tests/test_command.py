"""The command `eventtracking worker`: its process, its exit status, its pools, its config."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from celery_scenes import Scene, Worker, wait_for

from eventtracking_testkit.services import RedisServer

pytestmark = pytest.mark.needs("cli")


def started(scene: Scene, file: Path, *options: str) -> Worker:
    command = [sys.executable, "-m", "eventtracking_cli", "worker", "-c", str(file), *options]
    return scene.start([*command, "--without-mingle", "--loglevel=INFO"], None, wait=False)


def one_route(scene: Scene, **options: Any) -> dict[str, Any]:
    return {"backends": {"w": scene.router({"store": scene.record(**options)})}}


@pytest.mark.timeout(180)
@pytest.mark.parametrize("pool", ["gevent", "threads", "solo"])
def test_every_pool_delivers_and_ends(on_redis: Scene, pool: str) -> None:
    """Ten batches of half a second each, and SIGTERM ends the worker with status 0."""
    router = on_redis.router({"store": on_redis.record(delay_s=0.5)}, max_batch_events=1)
    config = {"backends": {"w": router}}
    tracker = on_redis.tracker(config)
    for number in range(10):
        tracker.emit(f"e{number}")
    assert tracker.flush(10)
    worker = started(on_redis, on_redis.write(config), f"--pool={pool}", "--concurrency=10")
    wait_for(lambda: len(on_redis.stored()) == 10)
    assert len({line["id"] for line in on_redis.stored()}) == 10
    worker.process.terminate()
    assert worker.process.wait(30) == 0


@pytest.mark.timeout(180)
def test_a_worker_that_fails_has_an_exit_status(
    new_scene: Callable[[str], Scene], new_redis_server: Callable[..., RedisServer]
) -> None:
    """A Redis without memory ends the worker: the init system sees that it failed."""
    server = new_redis_server()
    scene = new_scene(server.uri)
    with redis.Redis.from_url(server.uri) as client:
        client.config_set("maxmemory-policy", "noeviction")
        client.set("junk", "x" * 100_000)
        client.config_set("maxmemory", 100_000)
        worker = started(scene, scene.write(one_route(scene)))
        assert worker.process.wait(60) == 1
    assert "Unrecoverable error" in worker.output()


@pytest.mark.timeout(180)
def test_a_worker_waits_for_its_broker(
    new_scene: Callable[[str], Scene], new_redis_server: Callable[..., RedisServer]
) -> None:
    """It starts while the broker is away, says so, and delivers when it is back."""
    server = new_redis_server()
    scene = new_scene(server.uri)
    config = one_route(scene)
    server.stop()
    worker = started(scene, scene.write(config))
    wait_for(lambda: "(1/None)" in worker.output())
    server.start()
    tracker = scene.tracker(config)
    tracker.emit("e1")
    wait_for(scene.stored)
    assert worker.process.poll() is None


def test_a_broken_route_stops_no_sound_one(on_redis: Scene) -> None:
    """The worker names the problem and delivers to the sibling; the broken route's events wait."""
    sound = one_route(on_redis)
    broken = {"plugin": "record", "path": str(on_redis.folder / "other"), "nonsense": 1}
    config = {"backends": {"w": on_redis.router({"store": on_redis.record(), "broken": broken})}}
    tracker = on_redis.tracker(sound)
    tracker.emit("e1")
    assert tracker.flush(10)
    worker = started(on_redis, on_redis.write(config))
    wait_for(on_redis.stored)
    assert "backends.w.backends.broken.nonsense" in worker.output()
    wait_for(lambda: "wait for a pause" in worker.output())
    with redis.Redis.from_url(on_redis.broker_url) as client:
        assert client.llen(f"{on_redis.queue}.dead") == 0


def test_a_queue_that_no_router_has_is_refused(on_redis: Scene) -> None:
    """It would be made on the broker, and nothing ever come of it."""
    worker = started(on_redis, on_redis.write(one_route(on_redis)), "--queue", "nosuch")
    assert worker.process.wait(60) == 2
    assert f"found 'nosuch', expected a queue of this config: {on_redis.queue}" in worker.output()


@pytest.mark.timeout(180)
def test_a_file_named_celery_is_not_taken_for_it(on_redis: Scene) -> None:
    """A project often has a celery.py; a worker that starts in its folder is Celery's all the
    same.
    """
    (on_redis.folder / "celery.py").write_text("raise SystemExit('not Celery')\n")
    config = one_route(on_redis)
    tracker = on_redis.tracker(config)
    tracker.emit("e1")
    assert tracker.flush(10)
    program = "from eventtracking_cli.entry import main; main()"
    file = on_redis.write(config)
    command = [sys.executable, "-I", "-c", program, "worker", "-c", str(file), "--without-mingle"]
    worker = on_redis.start(command, None, wait=False)
    deadline = time.monotonic() + 30
    while not on_redis.stored() and worker.process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert "not Celery" not in worker.output()
