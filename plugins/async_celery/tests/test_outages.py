"""A broker that is away, hangs or restarts costs the caller nothing, and no event."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
from celery_scenes import SITE, Scene, wait_for

from eventtracking import Tracker
from eventtracking.counts import Counts
from eventtracking_async_celery.publisher import PublishError, publisher_for
from eventtracking_testkit.services import RabbitMQServer, RedisServer, TcpProxy

NewScene = Callable[[str], Scene]


def through(proxy: TcpProxy, url: str) -> str:
    """The URL of a server by way of a proxy."""
    return url.replace(f":{urlsplit(url).port}/", f":{proxy.port}/")


def emit_cost_s(tracker: Tracker) -> float:
    """What an emit costs at its best: machines are noisy."""
    costs = []
    for _ in range(10):
        started = time.perf_counter()
        for number in range(100):
            tracker.emit("e", {"number": number})
        costs.append((time.perf_counter() - started) / 100)
    return min(costs)


def spoil_and_restart(scene: Scene, server: RedisServer | RabbitMQServer) -> None:
    config = {"backends": {"w": scene.router({"store": scene.record()})}}
    tracker = scene.tracker(config)
    scene.worker(scene.write(config))
    for number in range(20):
        tracker.emit(f"before{number}")
    assert tracker.flush(10)
    wait_for(lambda: len(scene.stored()) == 20)
    server.stop()
    for number in range(20):
        tracker.emit(f"during{number}")
    assert not tracker.flush(0.5)
    assert tracker.stats()["w"] == Counts(received=40, delivered=20, pending=20)
    server.start()
    wait_for(lambda: len({event["id"] for event in scene.stored()}) == 40, 60)
    wait_for(lambda: tracker.stats()["w"] == Counts(received=40, delivered=40))


def test_redis_may_restart(
    new_scene: NewScene, new_redis_server: Callable[..., RedisServer]
) -> None:
    """Redis is stopped and started: what was emitted meanwhile waits, and arrives through the
    worker that was there before.
    """
    server = new_redis_server(persistent=True)
    spoil_and_restart(new_scene(server.uri), server)


@pytest.mark.soak
def test_rabbitmq_may_restart(
    new_scene: NewScene, new_rabbitmq_server: Callable[..., RabbitMQServer]
) -> None:
    """RabbitMQ is stopped and started: what was emitted meanwhile waits, and arrives through the
    worker that was there before.
    """
    server = new_rabbitmq_server()
    spoil_and_restart(new_scene(server.uri), server)


def test_a_silent_broker_costs_the_caller_nothing(
    scene: Scene, new_scene: NewScene, new_tcp_proxy: Callable[[int], TcpProxy]
) -> None:
    """While nothing passes to the broker, an emit costs at most three times its normal, and the
    events go out afterwards.
    """
    proxy = new_tcp_proxy(urlsplit(scene.broker_url).port or 0)
    scene.broker_url = through(proxy, scene.broker_url)
    tracker = scene.tracker(
        {"backends": {"w": scene.router({"store": scene.record()}, publish_timeout_s=0.5)}}
    )
    normal_s = emit_cost_s(tracker)
    assert tracker.flush(10)
    proxy.black_hole()
    assert emit_cost_s(tracker) < 3 * normal_s
    started = time.monotonic()
    assert not tracker.flush(0.5)
    assert time.monotonic() - started < 10
    assert tracker.stats()["w"].pending == 1000
    proxy.let_pass()
    assert tracker.flush(20)
    assert tracker.stats()["w"] == Counts(received=2000, delivered=2000)


@pytest.mark.soak
def test_a_worker_leaves_a_silent_connection(
    on_redis: Scene, new_tcp_proxy: Callable[[int], TcpProxy]
) -> None:
    """Its connections to Redis go silent, as behind a firewall that has forgotten them: it is back
    within a minute.
    """
    proxy = new_tcp_proxy(urlsplit(on_redis.broker_url).port or 0)
    url = through(proxy, on_redis.broker_url)
    config = {"backends": {"w": on_redis.router({"store": on_redis.record()}, broker_url=url)}}
    tracker = on_redis.tracker(config)
    on_redis.worker(on_redis.write(config))
    tracker.emit("before")
    wait_for(on_redis.stored)
    proxy.hang()
    tracker.emit("after")
    wait_for(lambda: "after" in on_redis.ids(), 60)


def test_a_probe_tells_whether_the_broker_is_there(
    scene: Scene, new_tcp_proxy: Callable[[int], TcpProxy]
) -> None:
    """With the broker up it is content, and with the broker down it raises an error that
    names it.
    """
    proxy = new_tcp_proxy(urlsplit(scene.broker_url).port or 0)
    url = through(proxy, scene.broker_url)
    tracker = scene.tracker(
        {"backends": {"w": scene.router({"store": scene.record()}, broker_url=url)}}
    )
    router = _router_of(tracker)
    router.probe()
    proxy.refuse()
    with pytest.raises(PublishError, match=rf"127\.0\.0\.1:{proxy.port} cannot be reached: "):
        router.probe()
    proxy.let_pass()
    router.probe()


@pytest.mark.parametrize("trouble", ["black_hole", "hang", "refuse"])
def test_publishing_ends_within_its_time(
    scene: Scene, new_tcp_proxy: Callable[[int], TcpProxy], trouble: str
) -> None:
    """A broker that is silent or refuses makes `send` raise an error that names it, without the
    password, in time.
    """
    proxy = new_tcp_proxy(urlsplit(scene.broker_url).port or 0)
    url = through(proxy, scene.broker_url)
    tracker = scene.tracker(
        {
            "backends": {
                "w": scene.router({"store": scene.record()}, broker_url=url, publish_timeout_s=0.5)
            }
        }
    )
    publisher = publisher_for(_router_of(tracker).app, 0.5)
    publisher.send_dead(scene.queue, {})
    getattr(proxy, trouble)()
    if trouble == "hang":
        proxy.black_hole()
    started = time.monotonic()
    with pytest.raises(PublishError, match=rf"127\.0\.0\.1:{proxy.port} did not confirm") as caught:
        publisher.send_dead(scene.queue, {})
    assert time.monotonic() - started < 10
    assert "guest" not in str(caught.value)


def _router_of(tracker: Tracker) -> Any:
    from eventtracking_async_celery.registry import owners_in

    (router,) = owners_in(tracker)
    return router


def test_below_a_buffer_nothing_else_is_put_before_the_broker(
    scene: Scene, new_tcp_proxy: Callable[[int], TcpProxy]
) -> None:
    """A buffer above keeps an event until the broker has confirmed it; the router itself holds
    nothing.
    """
    proxy = new_tcp_proxy(urlsplit(scene.broker_url).port or 0)
    url = through(proxy, scene.broker_url)
    router = scene.router({"store": scene.record()}, broker_url=url, publish_timeout_s=0.5)
    tracker = scene.tracker(
        {"backends": {"b": {"plugin": "buffer", "retry_base_s": 0.1, "backends": {"w": router}}}}
    )
    proxy.black_hole()
    tracker.emit("e1")
    assert not tracker.flush(1.5)
    stats = tracker.stats()
    assert (stats["b"].pending, stats["b/w"].pending, stats["b/w"].delivered) == (1, 1, 0)
    proxy.let_pass()
    assert tracker.flush(20)
    stats = tracker.stats()
    assert stats["b"].delivered == stats["b/w"].delivered == 1


FORK = """
import json, os, sys, time
from eventtracking import Tracker

tracker = Tracker.from_config(json.load(open(sys.argv[1])))
for number in range(5):
    tracker.emit(f"parent{number}")
tracker.flush(10)
child = os.fork()
if child == 0:
    for number in range(20):
        tracker.emit(f"child{number}")
    assert tracker.flush(10)
    assert tracker.stats()["w"].delivered == 20
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
tracker.emit("parent5")
assert tracker.flush(10)
assert tracker.stats()["w"].delivered == 6
"""


def test_parent_and_forked_child_publish_apart(scene: Scene) -> None:
    """A child uses a connection of its own, and leaves its parent's alone: everything
    arrives once.
    """
    config = {"backends": {"w": scene.router({"store": scene.record()})}}
    file = scene.write(config)
    subprocess.run(
        [sys.executable, "-c", FORK, str(file)],
        check=True,
        env={"PYTHONPATH": str(SITE)},
        timeout=60,
    )
    scene.worker(file)
    wait_for(lambda: len(scene.stored()) == 26)
    assert len(set(scene.ids())) == 26
