"""What fails is tried again, only where it failed; what is hopeless becomes a dead letter; nothing
is lost.
"""

from __future__ import annotations

import os
import signal
import time
from datetime import datetime, timezone

import pytest
import redis
from celery_scenes import Scene, wait_for
from eventtracking_celery_fakes import ODD_REASONS
from kombu import Queue

from eventtracking import Counts, Event
from eventtracking_async_celery.batch import Batch
from eventtracking_async_celery.registry import owners_in
from eventtracking_async_celery.router import AsyncCeleryRouter
from eventtracking_async_celery.startup import choose_app


def counted(received: int, **outcomes: int) -> dict[str, int]:
    names = ("received", "delivered", "filtered", "failed", "dead_lettered", "pending")
    return {**dict.fromkeys(names, 0), "received": received, **outcomes}


def figures(counts: Counts) -> dict[str, int]:
    return {name: getattr(counts, name) for name in counted(0)}


def test_a_killed_workers_batch_goes_to_another_one(scene: Scene) -> None:
    """A worker is killed -9, with its pool, while it delivers: RabbitMQ gives the batch to another
    one, Redis after its timeout.
    """
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


@pytest.mark.timeout(180)
def test_a_killed_pool_process_loses_nothing(scene: Scene) -> None:
    """The process that delivers is killed -9, and its worker gives the batch back to the broker at
    once.
    """
    hang = scene.folder / "hang"
    hang.touch()
    # Celery takes up to 5 s to see that a process is gone; with a shorter timeout Redis gives the
    # batch away meanwhile.
    longer = {"visibility_timeout_s": 20.0} if scene.is_redis else {}
    config = {
        "backends": {"w": scene.router({"store": scene.record(hang_while=str(hang))}, **longer)}
    }
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


@pytest.mark.timeout(180)
def test_a_batch_that_kills_its_process_ends(scene: Scene) -> None:
    """A backend that crashes the process costs an attempt each time; after the last one the batch
    is buried, and its sibling's, too.
    """
    allowed = (
        2 if scene.is_redis else 1
    )  # one loss alone buries no batch: it may have been a worker's stop
    die = scene.folder / "die"
    die.touch()
    backends = {"good": scene.record("good"), "bad": scene.record("bad", die_while=str(die))}
    # Celery takes up to 5 s to see that a process is gone; with a shorter timeout Redis gives the
    # batch away meanwhile.
    longer = {"visibility_timeout_s": 20.0} if scene.is_redis else {}
    config = {"backends": {"w": scene.router(backends, max_attempts=allowed, **longer)}}
    tracker = scene.tracker(config)
    tracker.emit("e1")
    assert tracker.flush(10)
    scene.worker(scene.write(config))
    router = _router(scene)
    wait_for(lambda: len(router.dead_letters()) == 2)
    found = {(letter.route, letter.reason, letter.attempts) for letter in router.dead_letters()}
    reason = "given up after 2 attempts: the worker died with it 2 times"
    assert found == {("w/good", reason, 2), ("w/bad", reason, 2)}
    assert len(scene.tries("bad")) == 2
    wait_for(lambda: scene.worker_counts("w/bad").dead_lettered == 1)
    for path in ("w/good", "w/bad"):
        assert figures(scene.worker_counts(path)) == counted(1, dead_lettered=1), path
    die.unlink()
    assert router.replay() == 2
    wait_for(lambda: scene.stored("bad"))
    assert scene.ids("bad") == ["e1"]


def test_a_backend_that_calls_exit_has_failed(on_redis: Scene) -> None:
    """The process goes on, and the sibling has each event once."""
    leave = on_redis.folder / "leave"
    leave.touch()
    backends = {
        "bad": on_redis.record("bad", exit_while=str(leave)),
        "good": on_redis.record("good"),
    }
    config = {"backends": {"w": on_redis.router(backends, max_retry_s=0.2)}}
    tracker = on_redis.tracker(config)
    tracker.emit("e1")
    assert tracker.flush(10)
    worker = on_redis.worker(on_redis.write(config))
    wait_for(lambda: len(on_redis.tries("bad")) >= 2)
    leave.unlink()
    wait_for(lambda: on_redis.worker_counts("w/bad").delivered == 1)
    assert on_redis.tries("good") == [1]
    (pool_process,) = worker.children()
    assert {line["pid"] for name in backends for line in on_redis.stored(name)} == {pool_process}
    assert "w/bad: DeliveryError: it called sys.exit" in worker.output()


def test_reasons_that_are_no_texts_are_made_some(on_redis: Scene) -> None:
    """Whatever a backend gives as a reason, the event becomes a dead letter, and the sibling has it
    once.
    """
    backends = {"good": on_redis.record("good"), "bad": on_redis.record("bad", odd_reasons=True)}
    config = {"backends": {"w": on_redis.router(backends)}}
    tracker = on_redis.tracker(config)
    for name in ODD_REASONS:
        tracker.emit(name)
    assert tracker.flush(10)
    on_redis.worker(on_redis.write(config))
    router = _router(on_redis)
    wait_for(lambda: len(router.dead_letters()) == len(ODD_REASONS))
    assert {letter.event.name: letter.reason for letter in router.dead_letters()} == {
        "surrogate": r"bad \ud800",
        "error": "no reason given",
        "none": "no reason given",
        "bytes": "no reason given",
        "long": f"{'x' * 500}...",
    }
    assert on_redis.tries("good") == [len(ODD_REASONS)]


def test_waiting_batches_hold_up_no_new_ones(on_rabbitmq: Scene) -> None:
    """While a hundred batches wait in a worker for their next attempt at one child, its sibling
    gets a new event at once.
    """
    down = on_rabbitmq.folder / "down"
    down.touch()
    backends = {
        "good": on_rabbitmq.record("good"),
        "bad": on_rabbitmq.record("bad", fail_while=str(down)),
    }
    config = {
        "backends": {
            "w": on_rabbitmq.router(
                backends, max_batch_events=1, min_retry_s=600.0, max_retry_s=600.0
            )
        }
    }
    tracker = on_rabbitmq.tracker(config)
    for number in range(100):
        tracker.emit(f"e{number}")
    assert tracker.flush(20)
    on_rabbitmq.worker(on_rabbitmq.write(config))
    wait_for(lambda: len(on_rabbitmq.tries("bad")) >= 100)
    tracker.emit("new")
    assert tracker.flush(10)
    wait_for(lambda: "new" in on_rabbitmq.ids("good"), 5)


def test_only_what_failed_is_tried_again_and_only_there(scene: Scene) -> None:
    """A child that is down for a while gets its events later; its sibling has each once; a group
    counts them once.
    """
    down = scene.folder / "down"
    down.touch()
    group = {
        "backends": {"good": scene.record("good"), "bad": scene.record("bad", fail_while=str(down))}
    }
    config = {"backends": {"w": scene.router({"g": group}, max_retry_s=0.4)}}
    tracker = scene.tracker(config)
    for number in range(5):
        tracker.emit(f"e{number}")
    assert tracker.flush(10)
    scene.worker(scene.write(config), "--concurrency=2")
    wait_for(lambda: len(scene.tries("bad")) >= 4)
    down.unlink()
    wait_for(
        lambda: len(scene.stored("bad")) == 5 and scene.worker_counts("w/g/bad").delivered == 5
    )
    assert scene.ids("good") == scene.ids("bad") == [f"e{number}" for number in range(5)]
    assert scene.tries("good") == [5]
    for path in ("w/g/good", "w/g/bad", "w/g"):
        assert figures(scene.worker_counts(path)) == counted(5, delivered=5), path


def test_dead_letters_are_kept_listed_and_replayed(scene: Scene) -> None:
    """Refused events die at once, failing ones after the last attempt; both are listed with their
    reasons, and come back.
    """
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
    found = {
        (letter.route, letter.event.name, letter.reason, letter.attempts)
        for letter in router.dead_letters()
    }
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
    (router,) = owners_in(scene.trackers[0])
    assert isinstance(router, AsyncCeleryRouter)
    return router


@pytest.mark.timeout(180)
def test_what_redis_gave_away_and_nobody_has_comes_back(on_redis: Scene) -> None:
    """Redis hands a message to a worker that dies before it reads it: no list or table has it, and
    the spare copy is sent.
    """
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
        assert not client.exists(
            *(f"eventtracking.{on_redis.queue}.{what}" for what in ("copies", "due", "begun"))
        )


@pytest.mark.timeout(180)
def test_a_worker_whose_config_lacks_the_path_keeps_the_batch(on_redis: Scene) -> None:
    """It says so, does not spin, and a worker with the right config delivers the batch, however
    often others stopped with it.
    """
    config = {"backends": {"w": on_redis.router({"store": on_redis.record()})}}
    other = {"backends": {"elsewhere": config["backends"]["w"]}}
    tracker = on_redis.tracker(config)
    tracker.emit("e1")
    assert tracker.flush(10)
    event = Event(
        name="e2", timestamp=datetime(2024, 1, 2, tzinfo=timezone.utc), context={}, data={}
    )
    _router(on_redis).batch_queue().send(
        Batch(tracker="default", path="w", events=[event], lost=30)
    )
    wrong = on_redis.worker(on_redis.write(other, "other.json"))
    wait_for(lambda: "stays on the broker: no router at 'w'" in wrong.output())
    time.sleep(2.5)
    assert 4 <= wrong.output().count("received") <= 10
    assert wrong.output().count("stays on the broker") == 1
    wrong.stop()
    assert on_redis.stored() == []
    on_redis.worker(on_redis.write(config))
    wait_for(lambda: on_redis.ids() == ["e1", "e2"])


@pytest.mark.timeout(180)
def test_a_removed_route_does_not_hold_up_its_siblings(on_redis: Scene) -> None:
    """What waits for a route that the worker's config lacks is kept apart, for a worker that has
    it; its sibling is delivered.
    """
    down = on_redis.folder / "down"
    down.touch()
    backends = {name: on_redis.record(name, fail_while=str(down)) for name in ("stays", "goes")}
    whole = {"backends": {"w": on_redis.router(backends, max_retry_s=0.5)}}
    part = {"backends": {"w": on_redis.router({"stays": backends["stays"]}, max_retry_s=0.5)}}
    tracker = on_redis.tracker(whole)
    tracker.emit("e1")
    assert tracker.flush(10)
    before = on_redis.worker(on_redis.write(whole))
    wait_for(lambda: on_redis.tries("goes"))
    before.stop()
    down.unlink()
    without = on_redis.worker(on_redis.write(part, "part.json"))
    wait_for(lambda: on_redis.ids("stays") == ["e1"])
    assert "stays on the broker: no route at 'w/goes'; below 'w' are 'w/stays'" in without.output()
    without.stop()
    assert on_redis.stored("goes") == []
    on_redis.worker(on_redis.write(whole))
    wait_for(lambda: on_redis.ids("goes") == ["e1"])
    assert on_redis.ids("stays") == ["e1"]


def test_a_batch_of_a_later_format_is_kept(on_rabbitmq: Scene) -> None:
    """A worker with an older version of the plugin says that it cannot read the batch, and leaves
    it on the broker.
    """
    config = {"backends": {"w": on_rabbitmq.router({"store": on_rabbitmq.record()})}}
    tracker = on_rabbitmq.tracker(config)
    app = choose_app(tracker)
    queue = _router(on_rabbitmq).batch_queue()
    queue.send_message({"format": 99, "news": "x"}, 0.0)
    worker = on_rabbitmq.worker(on_rabbitmq.write(config))
    wait_for(lambda: "succeeded" in worker.output())
    assert "stays on the broker: the batch has format 99" in worker.output()
    worker.kill()
    with app.connection_for_read() as connection:
        queue = Queue(f"{on_rabbitmq.queue}.w7")(connection)  # where it waits for half a minute
        wait_for(lambda: queue.queue_declare(passive=True).message_count)
        message = queue.get()
        assert message.payload[1]["batch"] == {"format": 99, "news": "x"}
