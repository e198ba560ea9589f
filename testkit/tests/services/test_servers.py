"""Real servers start, keep their data over a kill, freeze, and leave nothing behind."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from kombu import Connection, Exchange, Queue
from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError
from redis import AuthenticationError, Redis

from eventtracking_testkit.services._process import Owner
from eventtracking_testkit.services.fixtures import RunningService
from eventtracking_testkit.services.mongo import MongoServer
from eventtracking_testkit.services.rabbitmq import RabbitMQServer
from eventtracking_testkit.services.redis import RedisServer


def wait_until(condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.02)


def test_mongo_keeps_its_documents_over_kill_and_start(
    new_mongo_server: Callable[..., MongoServer],
) -> None:
    """A majority write is there after `kill -9` and a start on the same port."""
    server = new_mongo_server(replica_set=True)
    uri = server.uri
    with server.client() as client:
        client.trial.things.insert_one({"_id": 1})
    server.kill()
    assert not server.is_running
    server.start()
    assert server.uri == uri
    with server.client() as client:
        assert client.trial.things.count_documents({}) == 1


def test_redis_wants_a_password(new_redis_server: Callable[..., RedisServer]) -> None:
    """Without the password of the URI nothing is answered, and neither a repr nor the list of
    processes shows it.
    """
    server = new_redis_server()
    with Redis(port=server.port) as stranger, pytest.raises(AuthenticationError):
        stranger.get("x")
    with Redis.from_url(server.uri) as client:
        assert client.set("x", 1)
    assert server.password in server.uri
    assert server.password not in repr(server) + " ".join(server.command())


def test_mongo_wants_a_password(new_mongo_server: Callable[..., MongoServer]) -> None:
    """The URI's user may write, nobody else may, and the password does not show in a repr."""
    server = new_mongo_server()
    with server.client() as client:
        client.trial.things.insert_one({"_id": 1})
    client = MongoClient(f"mongodb://{server.address}/", serverSelectionTimeoutMS=5000)
    with client as nobody, pytest.raises(OperationFailure):
        nobody.trial.things.insert_one({"_id": 2})
    assert server.password in server.uri
    assert server.password not in repr(server)


def test_a_paused_mongo_is_connected_and_silent(
    new_mongo_server: Callable[..., MongoServer],
) -> None:
    """While frozen it does not answer; afterwards the same server goes on."""
    server = new_mongo_server()
    pid = server.pid
    with server.client(socketTimeoutMS=500, serverSelectionTimeoutMS=500) as client:
        client.admin.command("ping")
        server.pause()
        with pytest.raises(PyMongoError):
            client.admin.command("ping")
        server.resume()
        wait_until(server.answers)
    assert server.pid == pid


def test_stop_is_an_orderly_end(new_mongo_server: Callable[..., MongoServer]) -> None:
    """`stop` lets MongoDB finish, even from a pause, and its own log says so; `kill` does not."""
    server = new_mongo_server()
    server.kill()
    assert "mongod shutdown complete" not in server.output()
    server.start()
    server.pause()
    server.stop()
    assert "mongod shutdown complete" in server.output()


@pytest.mark.parametrize("persistent", [True, False])
def test_redis_keeps_its_data_if_told_to(
    new_redis_server: Callable[..., RedisServer], *, persistent: bool
) -> None:
    """After `kill -9` a persistent Redis has what it acknowledged, another has nothing."""
    server = new_redis_server(persistent=persistent)
    with Redis.from_url(server.uri) as client:
        client.set("name", "value")
    server.kill()
    server.start()
    with Redis.from_url(server.uri) as client:
        assert client.get("name") == (b"value" if persistent else None)


@pytest.mark.timeout(180)
def test_rabbitmq_keeps_confirmed_messages_over_kill_and_start(
    new_rabbitmq_server: Callable[..., RabbitMQServer],
) -> None:
    """A confirmed persistent message is there after `kill -9` and a start on the same port."""
    server = new_rabbitmq_server()
    queue = Queue("trial", Exchange("trial", durable=True), "trial", durable=True)
    with Connection(server.uri, transport_options={"confirm_publish": True}) as connection:
        producer = connection.Producer()
        producer.publish(
            {"n": 1}, exchange=queue.exchange, routing_key="trial", declare=[queue], delivery_mode=2
        )
    server.kill()
    server.start()
    with Connection(server.uri) as connection:
        message = queue(connection.default_channel).get()
        assert message is not None
        assert message.payload == {"n": 1}
        message.ack()


def test_two_rabbitmq_nodes_do_not_know_each_other(
    new_rabbitmq_server: Callable[..., RabbitMQServer], rabbitmq_server: RunningService
) -> None:
    """A second node runs beside the run's own, with a port and an `epmd` of its own."""
    server = new_rabbitmq_server()
    assert server.port != rabbitmq_server.port
    for uri in (server.uri, rabbitmq_server.uri):
        with Connection(uri, connect_timeout=10) as connection:
            connection.connect()


def test_closing_removes_process_and_folder(new_redis_server: Callable[..., RedisServer]) -> None:
    """After `close`, twice for good measure, neither process nor guardian nor folder is left."""
    server = new_redis_server()
    processes = [Owner.of(server.pid), Owner.of(server.guardian_pid)]
    folder = server.folder
    server.close()
    server.close()
    assert folder is not None
    assert not folder.exists()
    assert not any(process.is_alive for process in processes)


@pytest.mark.process
def test_a_server_that_cannot_start_says_why() -> None:
    """The error carries the end of the server's own output, and nothing stays behind."""

    class Wrong(RedisServer):
        def command(self) -> list[str]:
            return [*super().command(), "--no-such-option", "yes"]

    server = Wrong()
    with pytest.raises(Exception, match="no-such-option") as caught:
        server.start()
    assert type(caught.value).__name__ == "ServiceFailedError"
    assert server.folder is None
    assert not server.is_running


def test_a_closed_server_names_the_next_step() -> None:
    """What needs a running server says so, and what to do."""
    with pytest.raises(RuntimeError, match=r"call start\(\) first"):
        RedisServer().pause()


def test_the_shared_servers_are_real(
    mongo_server: RunningService,
    mongo_replica_set: RunningService,
    redis_server: RunningService,
) -> None:
    """Each of the run's servers answers its own client."""
    for uri in (mongo_server.uri, mongo_replica_set.uri):
        with MongoClient[dict[str, object]](uri) as client:
            assert client.admin.command("ping")["ok"] == 1
    with Redis.from_url(redis_server.uri) as redis:
        assert redis.ping()
