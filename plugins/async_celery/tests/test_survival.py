"""Under load, with workers killed at random and the broker stopped for a while: what was emitted is
what is stored.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from celery_scenes import Scene, wait_for

from eventtracking import Counts
from eventtracking_testkit.services import RabbitMQServer, RedisServer

NewScene = Callable[[str], Scene]
Server = RedisServer | RabbitMQServer

LOAD_S = 90.0


def trial(scene: Scene, server: Server, load_s: float) -> None:
    """Emit for so long; stop the broker for the middle third, and kill the workers, whole or a pool
    process, all the time.
    """
    random.seed(4)
    down = scene.folder / "down"
    store = scene.record(delay_s=0.02, fail_while=str(down))
    config = {
        "backends": {
            "w": scene.router(
                {"store": store}, max_batch_events=50, max_retry_s=2.0, max_attempts=100
            )
        }
    }
    file = scene.write(config)
    tracker = scene.tracker(config)
    stop = threading.Event()
    killer = threading.Thread(target=kill_now_and_then, args=(scene, file, stop))
    killer.start()
    try:
        number = emit_through_trouble(tracker.emit, server, down, load_s)
    finally:
        stop.set()
        killer.join()
    scene.worker(file)
    assert tracker.flush(60)
    assert tracker.stats()["w"] == Counts(received=number, delivered=number)
    expected = {f"e{each}" for each in range(number)}
    wait_for(lambda: {event["name"] for event in scene.stored()} == expected, 120)
    assert len({event["id"] for event in scene.stored()}) == number


def emit_through_trouble(
    emit: Callable[[str], None], server: Server, down: Path, load_s: float
) -> int:
    """Return how many were emitted; the broker is away in the middle, and the store in the last
    third.
    """
    trouble = threading.Thread(target=stop_for_a_while, args=(server, load_s))
    trouble.start()
    number, started = 0, time.monotonic()
    while time.monotonic() - started < load_s:
        for _ in range(20):
            emit(f"e{number}")
            number += 1
        if time.monotonic() - started > load_s * 2 / 3:
            down.touch()
        time.sleep(0.02)
    trouble.join()
    down.unlink()
    return number


def stop_for_a_while(server: Server, load_s: float) -> None:
    time.sleep(load_s / 3)
    server.stop()
    time.sleep(load_s / 3)
    server.start()


def kill_now_and_then(scene: Scene, file: Path, stop: threading.Event) -> None:
    while not stop.is_set():
        worker = scene.worker(file, wait=False)
        stop.wait(random.uniform(1.5, 4.0))
        worker.kill()


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_redis_survives(new_scene: NewScene, new_redis_server: Callable[..., RedisServer]) -> None:
    """On Redis, with the broker away for half a minute."""
    server = new_redis_server(persistent=True)
    trial(new_scene(server.uri), server, LOAD_S)


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_rabbitmq_survives(
    new_scene: NewScene, new_rabbitmq_server: Callable[..., RabbitMQServer]
) -> None:
    """On RabbitMQ, with the broker away for half a minute."""
    server = new_rabbitmq_server()
    trial(new_scene(server.uri), server, LOAD_S)
