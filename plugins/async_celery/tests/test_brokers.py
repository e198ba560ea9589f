"""The peculiarities of each kind of broker: leases, copies, sentinels, queues that wait."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from celery_scenes import SITE, Scene, wait_for
from kombu import Connection, Queue

from eventtracking_async_celery.apps import own_app, shown_broker
from eventtracking_async_celery.batch import Batch
from eventtracking_async_celery.brokers.choice import broker_of
from eventtracking_async_celery.options import url_problem
from eventtracking_testkit.services import RedisServer

SECRET = "s3cretPassw0rd"


@pytest.mark.timeout(180)
@pytest.mark.parametrize("pool", ["prefork", "threads", "solo", "gevent"])
def test_a_batch_may_take_longer_than_its_lease(on_redis: Scene, pool: str) -> None:
    """Its worker extends the lease: the batch is tried once, whichever pool delivers it, and the
    one that waits behind it in the same worker, too.
    """
    backends = {"store": on_redis.record(delay_s=5.0)}
    options = {"visibility_timeout_s": 2.0, "max_batch_events": 1, "max_attempts": 2}
    config = {"backends": {"w": on_redis.router(backends, **options)}}
    tracker = on_redis.tracker(config)
    for name in ("e1", "e2"):
        tracker.emit(name)
    assert tracker.flush(10)
    file = on_redis.write(config)
    on_redis.worker(file, f"--pool={pool}")
    wait_for(on_redis.tries)
    on_redis.worker(file)  # would take over what seems to be lost
    wait_for(lambda: len(on_redis.stored()) >= 2)
    time.sleep(2.5)  # longer than the lease: time for a copy to come back
    assert on_redis.ids() == ["e1", "e2"]
    assert on_redis.tries() == [1, 1]


@pytest.fixture
def sentinel_url(new_redis_server: Callable[..., RedisServer], tmp_path: Path) -> Iterator[str]:
    """The URL of a sentinel that watches a Redis, which it names `mymaster`."""
    server = new_redis_server(password="")  # a sentinel's own config would have to name it
    port = server.port + 10_000 if server.port < 50_000 else server.port - 10_000
    conf = tmp_path / "sentinel.conf"
    conf.write_text(
        f"port {port}\nbind 127.0.0.1\nsentinel monitor mymaster 127.0.0.1 {server.port} 1\n"
    )
    command = [server.command()[0], str(conf), "--sentinel"]
    with (tmp_path / "sentinel.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, cwd=tmp_path)
    try:
        with redis.Redis(port=port) as client:
            wait_for(lambda: answers(client))
        yield f"sentinel://127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.wait(10)


def answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


def test_redis_behind_sentinels(new_scene: Callable[[str], Scene], sentinel_url: str) -> None:
    """The URL names the master; the caller and the worker find it, and copies are kept there."""
    scene = new_scene(f"{sentinel_url}?master_name=mymaster")
    config = {"backends": {"w": scene.router({"store": scene.record()})}}
    tracker = scene.tracker(config)
    assert tracker.probe() == {}
    tracker.emit("e1")
    assert tracker.flush(10)
    scene.worker(scene.write(config))
    wait_for(scene.stored)
    assert scene.ids() == ["e1"]


@pytest.mark.parametrize("url", ["sentinel://h:1/0", "sentinel://h:1/mymaster"])
def test_a_sentinel_url_without_a_master_is_refused(url: str) -> None:
    """It could never work: the config says so, with the way that does."""
    assert "expected sentinel://host:26379/0?master_name=NAME" in url_problem(url)


def test_several_sentinels_and_their_password() -> None:
    """What stands in the query goes to kombu's options, and is not shown."""
    app = own_app(
        f"sentinel://a:1/0;sentinel://b:2/0?master_name=m&sentinel_password={SECRET}", 9.0
    )
    options = app.conf.broker_transport_options
    assert options["master_name"] == "m"
    assert options["sentinel_kwargs"] == {"password": SECRET}
    connection = app.connection_for_write()
    assert connection.alt == ["sentinel://a:1/0", "sentinel://b:2/0"]
    assert SECRET not in connection.as_uri()


@pytest.mark.parametrize(
    "url",
    [
        f"redis+socket:///run/redis.sock?password={SECRET}&virtual_host=0",
        f"redis+socket://:{SECRET}@/run/redis.sock?virtual_host=0",
        f"redis://:{SECRET}@h:1/0",
        f"redis://u:x/{SECRET}@h:1/0",
        f"amqp://u:{SECRET}@h:5672//",
        f"amqp://u:{SECRET}@a:5672//;amqp://u:{SECRET}@b:5672//",
        f"rediss://:{SECRET}@h:1/0?ssl_cert_reqs=none&ssl_keyfile={SECRET}",
    ],
)
def test_no_form_of_a_url_shows_its_secret(url: str) -> None:
    """Neither in the worker's banner and log nor in an error, wherever the secret stands."""
    if url_problem(url):
        assert SECRET not in url_problem(url)
        return
    connection = own_app(url, 9.0).connection_for_write()
    for text in (connection.as_uri(), repr(connection), shown_broker(connection)):
        assert SECRET not in text


@pytest.mark.timeout(180)
@pytest.mark.parametrize("prefix", ["", "shop:"])
def test_copies_come_back_whatever_the_prefix(on_redis: Scene, prefix: str) -> None:
    """An application's `global_keyprefix` stands before each key of the copies, once."""
    options = {"visibility_timeout": 2, **({"global_keyprefix": prefix} if prefix else {})}
    file = application(on_redis, transport_options=options)
    run_in_application(EMIT, file)
    with redis.Redis.from_url(on_redis.broker_url) as client:
        assert client.rpop(f"{prefix}{on_redis.queue}") is not None  # as a worker's BRPOP does
        key = f"{prefix}eventtracking.{on_redis.queue}"
        assert {k.decode() for k in client.keys("*eventtracking*")} == {
            f"{key}.copies",
            f"{key}.due",
        }
        on_redis.worker(file, "-Q", on_redis.queue, app="celery_application")
        wait_for(on_redis.stored)
        wait_for(lambda: not client.exists(f"{key}.copies", f"{key}.due", f"{key}.begun"))
    assert on_redis.ids() == ["first"]


EMIT = """
import celery_application, eventtracking
eventtracking.tracker.emit("first")
assert eventtracking.tracker.get_tracker().flush(10)
"""


def application(scene: Scene, **changes: Any) -> Path:
    """Write the settings of an application with its own Celery app."""
    node = {
        "plugin": "async_celery",
        "queue": scene.queue,
        "min_retry_s": 0.5,
        "max_retry_s": 1.0,
        "max_batch_events": 1,
    }
    backends = {
        "good": scene.record(),
        "bad": scene.record("bad", fail_while=str(scene.folder / "down")),
    }
    default = {"backends": {"w": {**node, "backends": backends}}}
    settings = {"broker_url": scene.broker_url, "transport_options": {}, "default": default}
    return scene.write({**settings, "second": {}, **changes})


def run_in_application(script: str, file: Path) -> None:
    env = {**os.environ, "PYTHONPATH": str(SITE), "EVENTTRACKING_CONFIG": str(file)}
    subprocess.run([sys.executable, "-c", script], check=True, env=env, timeout=60)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("kind", ["classic", "quorum"])
def test_a_dead_destination_starves_no_other(on_rabbitmq: Scene, kind: str) -> None:
    """With quorum queues no worker can raise its prefetch count, so batches wait in the broker; the
    sibling gets each event at once, and the dead one all of them when it is back.
    """
    down = on_rabbitmq.folder / "down"
    down.touch()
    conf = {
        "task_default_queue": f"{on_rabbitmq.queue}default",
        **({"task_default_queue_type": "quorum"} if kind == "quorum" else {}),
    }
    file = application(on_rabbitmq, conf=conf, transport_options={"confirm_publish": True})
    queues = f"{on_rabbitmq.queue},{on_rabbitmq.queue}default"
    on_rabbitmq.worker(file, "-Q", queues, app="celery_application")
    run_in_application(EMIT.replace('emit("first")', 'emit("e0")'), file)
    run_in_application(EMIT_MANY, file)
    names = [f"e{number}" for number in range(40)]
    wait_for(lambda: on_rabbitmq.ids() == sorted(names))
    assert on_rabbitmq.stored("bad") == []
    down.unlink()
    wait_for(lambda: len(on_rabbitmq.stored("bad")) >= 40)
    assert on_rabbitmq.ids("bad") == sorted(names)
    assert on_rabbitmq.ids() == sorted(names)


EMIT_MANY = """
import celery_application, eventtracking
for number in range(1, 40):
    eventtracking.tracker.emit(f"e{number}")
assert eventtracking.tracker.get_tracker().flush(10)
"""


def test_a_delayed_batch_waits_in_the_broker(on_rabbitmq: Scene) -> None:
    """No worker is needed for the wait; a short one is not held up by a longer one before it."""
    config = {"backends": {"w": on_rabbitmq.router({"store": on_rabbitmq.record()})}}
    on_rabbitmq.tracker(config)
    from eventtracking_async_celery.registry import owners_in

    (router,) = owners_in(on_rabbitmq.trackers[0])
    queue = router.batch_queue()
    for delay_s in (600.0, 0.4, 0.3):
        queue.send_message({"delay": delay_s}, delay_s)
    with Connection(on_rabbitmq.broker_url) as connection:
        own = Queue(on_rabbitmq.queue)(connection)
        wait_for(lambda: own.queue_declare(passive=True).message_count == 2)
        got = [own.get(no_ack=True).payload[1]["batch"]["delay"] for _ in range(2)]
        assert sorted(got) == [0.3, 0.4]
        long = Queue(f"{on_rabbitmq.queue}.w12")(connection)
        assert long.queue_declare(passive=True).message_count == 1


def test_a_worker_tries_for_ever() -> None:
    """Celery's own default is to give up after a hundred tries."""
    for url in ("redis://h:1/8", "amqp://h:1//"):
        assert own_app(url, 300.0).conf.broker_connection_max_retries is None


def test_the_longest_delay_of_each_kind() -> None:
    """A worker that holds a batch must not hold it for long; RabbitMQ holds it itself."""
    assert broker_of(own_app("amqp://h:1//", 300.0)).max_delay_s == 3600
    assert broker_of(own_app("redis://h:1/8", 300.0)).max_delay_s == 150
    assert broker_of(own_app("redis://h:1/7", 86_400.0)).max_delay_s == 900


def test_the_body_of_a_copy_is_the_message(on_redis: Scene) -> None:
    """A copy is what was sent, so that it can be sent again."""
    config = {"backends": {"w": on_redis.router({"store": on_redis.record()})}}
    tracker = on_redis.tracker(config)
    tracker.emit("e1")
    assert tracker.flush(10)
    with redis.Redis.from_url(on_redis.broker_url) as client:
        (copy,) = client.hvals(f"eventtracking.{on_redis.queue}.copies")
    assert [event.name for event in Batch.unpack(json.loads(copy)).events] == ["e1"]
