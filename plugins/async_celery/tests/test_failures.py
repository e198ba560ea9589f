"""What fails is tried again, only where it failed; what is hopeless becomes a dead letter; nothing is lost."""

from __future__ import annotations

import os
import signal
import time

import redis
from celery_scenes import Scene, wait_for
from kombu import Queue

from eventtracking import Counts
from eventtracking_async_celery.router import AsyncCeleryRouter
from eventtracking_async_celery.startup import choose_app


def counted(received: int, **outcomes: int) -> dict[str, int]:
    names = ("received", "delivered", "filtered", "failed", "dead_lettered", "pending")
    return {**dict.fromkeys(names, 0), "received": received, **outcomes}


def figures(counts: Counts) -> dict[str, int]:
    return {name: getattr(counts, name) for name in counted(0)}


def test_a_killed_workers_batch_goes_to_another_one(scene: Scene) -> None:
    """A worker is killed -9, with its pool, while it delivers: RabbitMQ gives the batch to another one, Redis after its timeout."""
    hang = scene.folder / "hang"
    hang.touch()
    config = {"backends": {"w": scene.router({"store": scene.record(hang_while=str(hang))})}}
    tracker = scene.tracker(config)
    tracker.emit("e1")
    tracker.emit("e2")
    assert tracker.flush(10)
    worker = scene.worker(scene.write(config))
    wait_for(scene.tries)
    worker.kill()
    hang.unlink()
    assert scene.stored() == []
    scene.worker(scene.write(config))
    wait_for(lambda: len(scene.stored()) >= 2)
    assert scene.ids() == ["e1", "e2"]


def test_a_killed_pool_process_loses_nothing(scene: Scene) -> None:
    """The process that delivers is killed -9, and its worker gives the batch back to the broker at once."""
    hang = scene.folder / "hang"
    hang.touch()
    config = {"backends": {"w": scene.router({"store": scene.record(hang_while=str(hang))})}}
    tracker = scene.tracker(config)
    tracker.emit("e1")
    assert tracker.flush(10)
    worker = scene.worker(scene.write(config))
    wait_for(scene.tries)
    hang.unlink()
    for pid in worker.children():
        os.kill(pid, signal.SIGKILL)
    wait_for(scene.stored)
    assert scene.ids() == ["e1"]


def test_only_what_failed_is_tried_again_and_only_there(scene: Scene) -> None:
    """A child that is down for a while gets its events later; its sibling has each once; a group counts them once."""
    down = scene.folder / "down"
    down.touch()
    group = {"backends": {"good": scene.record("good"), "bad": scene.record("bad", fail_while=str(down))}}
    config = {"backends": {"w": scene.router({"g": group}, max_retry_s=0.4)}}
    tracker = scene.tracker(config)
    for number in range(5):
        tracker.emit(f"e{number}")
    assert tracker.flush(10)
    scene.worker(scene.write(config), "--concurrency=2")
    wait_for(lambda: len(scene.tries("bad")) >= 4)
    down.unlink()
    wait_for(lambda: len(scene.stored("bad")) == 5 and scene.worker_counts("w/g/bad").delivered == 5)
    assert scene.ids("good") == scene.ids("bad") == [f"e{number}" for number in range(5)]
    assert scene.tries("good") == [5]
    for path in ("w/g/good", "w/g/bad", "w/g"):
        assert figures(scene.worker_counts(path)) == counted(5, delivered=5), path


def test_dead_letters_are_kept_listed_and_replayed(scene: Scene) -> None:
    """Refused events die at once, failing ones after the last attempt; both are listed with their reasons, and come back."""
    down = scene.folder / "down"
    down.touch()
    backends = {
        "picky": scene.record("picky", reject_name="e1"),
        "bad": scene.record("bad", fail_while=str(down)),
    }
    config = {"backends": {"w": scene.router(backends, max_attempts=3)}}
    tracker = scene.tracker(config)
    tracker.emit("e1")
    tracker.emit("e2")
    assert tracker.flush(10)
    scene.worker(scene.write(config))
    router = _router(scene)
    wait_for(lambda: len(router.dead_letters()) == 3)
    found = {(letter.route, letter.event.name, letter.reason, letter.attempts) for letter in router.dead_letters()}
    gave_up = "given up after 3 attempts: OSError"
    assert found == {
        ("w/picky", "e1", "a bad name", 1),
        ("w/bad", "e1", gave_up, 3),
        ("w/bad", "e2", gave_up, 3),
    }
    wait_for(lambda: scene.worker_counts("w/bad").dead_lettered == 2)
    assert figures(scene.worker_counts("w/picky")) == counted(2, delivered=1, dead_lettered=1)
    assert figures(scene.worker_counts("w/bad")) == counted(2, dead_lettered=2)

    from eventtracking_buffer.dead_letters import Selection

    assert router.replay(Selection(route="w/bad", name="e2")) == 1
    wait_for(lambda: len(router.dead_letters()) == 3 and len(scene.tries("bad")) == 6)
    down.unlink()
    assert router.replay(Selection(route="w/bad")) == 2
    wait_for(lambda: len(scene.stored("bad")) == 2)
    assert scene.ids("bad") == ["e1", "e2"]
    assert [letter.route for letter in router.dead_letters()] == ["w/picky"]
    assert router.purge() == 1
    assert router.dead_letters() == []


def _router(scene: Scene) -> AsyncCeleryRouter:
    from eventtracking_async_celery.registry import owners_in

    (router,) = owners_in(scene.trackers[0])
    assert isinstance(router, AsyncCeleryRouter)
    return router


def test_what_redis_gave_away_and_nobody_has_comes_back(on_redis: Scene) -> None:
    """Redis hands a message to a worker that dies before it reads it: no list or table has it, and the spare copy is sent."""
    config = {"backends": {"w": on_redis.router({"store": on_redis.record()})}}
    tracker = on_redis.tracker(config)
    tracker.emit("e1")
    assert tracker.flush(10)
    with redis.Redis.from_url(on_redis.broker_url) as client:
        assert client.rpop(on_redis.queue) is not None  # as the worker's BRPOP does
        on_redis.worker(on_redis.write(config))
        wait_for(on_redis.stored)
        assert on_redis.ids() == ["e1"]
        wait_for(lambda: not client.zcard(f"eventtracking.{on_redis.queue}.due"))
        assert not client.exists(f"eventtracking.{on_redis.queue}.copies")


def test_a_worker_whose_config_lacks_the_path_keeps_the_batch(on_redis: Scene) -> None:
    """It says so, does not spin, and a worker with the right config delivers the batch."""
    config = {"backends": {"w": on_redis.router({"store": on_redis.record()})}}
    other = {"backends": {"elsewhere": config["backends"]["w"]}}
    tracker = on_redis.tracker(config)
    tracker.emit("e1")
    assert tracker.flush(10)
    wrong = on_redis.worker(on_redis.write(other, "other.json"))
    wait_for(lambda: "stays on the broker: no router at 'w'" in wrong.output())
    time.sleep(2.5)
    assert 2 <= wrong.output().count("received") <= 5
    assert wrong.output().count("stays on the broker") == 1
    wrong.stop()
    assert on_redis.stored() == []
    on_redis.worker(on_redis.write(config))
    wait_for(on_redis.stored)
    assert on_redis.ids() == ["e1"]


def test_a_batch_of_a_later_format_is_kept(on_rabbitmq: Scene) -> None:
    """A worker with an older version of the plugin says that it cannot read the batch, and leaves it on the broker."""
    config = {"backends": {"w": on_rabbitmq.router({"store": on_rabbitmq.record()})}}
    tracker = on_rabbitmq.tracker(config)
    app = choose_app(tracker)
    post = _router(on_rabbitmq).post()
    post.send_again({"format": 99, "news": "x"}, 0.0)
    worker = on_rabbitmq.worker(on_rabbitmq.write(config))
    wait_for(lambda: "succeeded" in worker.output())
    assert "stays on the broker: the batch has format 99" in worker.output()
    worker.kill()
    with app.connection_for_read() as connection:
        queue = Queue(on_rabbitmq.queue)(connection)
        wait_for(lambda: queue.queue_declare(passive=True).message_count)
        message = queue.get()
        assert message.payload[1]["batch"] == {"format": 99, "news": "x"}
