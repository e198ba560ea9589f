"""Servers that are absent, slow, frozen, killed, and networks that break."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from pymongo.collection import Collection

from eventtracking import DeliveryError, Tracker
from eventtracking_mongo.backend import MongoBackend
from eventtracking_testkit.samples import sample_events
from eventtracking_testkit.services import MongoServer, TcpProxy
from eventtracking_testkit.services.fixtures import RunningService

Make = Callable[..., MongoBackend]
EventsIn = Callable[[str, str], Collection[dict[str, Any]]]
SLACK_S = 4.0
"""How much later than its limit something may end on a busy machine."""


def failure(action: Callable[[], object], timeout_s: float) -> str:
    """Do what must fail within a time limit; the error's text."""
    start = time.monotonic()
    with pytest.raises(DeliveryError) as caught:
        action()
    assert time.monotonic() - start < timeout_s + SLACK_S
    return str(caught.value)


def retried(backend: MongoBackend, batch: Any, deadline_s: float = 60.0) -> int:
    """Send a batch until it is taken, as a router does; how often it failed."""
    failures, deadline = 0, time.monotonic() + deadline_s
    while time.monotonic() < deadline:
        try:
            backend.open()
            backend.send(batch)
        except DeliveryError:
            failures += 1
            time.sleep(0.05)
        else:
            return failures
    raise AssertionError(f"not delivered within {deadline_s:g} s")


def test_absent_at_start(new_mongo_server: Callable[..., MongoServer], events_in: EventsIn) -> None:
    """With no server there, an application starts, `emit` does not raise, and what failed is
    counted; later it delivers.
    """
    server = new_mongo_server()
    server.stop()
    config = {"backends": {"it": {"plugin": "mongo", "uri": server.uri, "timeout_s": 0.5}}}
    tracker = Tracker.from_config(config)
    tracker.emit("lost")
    (reason,) = tracker.stats()["it"].reasons
    assert (
        reason
        == f"failed: DeliveryError: MongoDB at {server.address}: no server to write to within"
        " timeout_s=0.5; the connection was refused: is it running there?"
        " (ServerSelectionTimeoutError)"
    )
    server.start()
    tracker.open()
    tracker.emit("stored")
    counts = tracker.stats()["it"]
    tracker.close()
    assert (counts.received, counts.failed, counts.delivered) == (2, 1, 1)
    assert [found["name"] for found in events_in(server.uri, "eventtracking").find()] == ["stored"]


def test_a_name_that_nobody_has() -> None:
    """A host that does not exist is an error at opening, not at config time."""
    backend = MongoBackend(host="nowhere.invalid", timeout_s=1.0)
    text = failure(backend.open, 1.0)
    assert text.startswith(
        "MongoDB at nowhere.invalid:27017: no server to write to within timeout_s=1"
    )


def test_the_wrong_replica_set(mongo_replica_set: RunningService) -> None:
    """A server that belongs to another set than was asked for is told so."""
    uri = mongo_replica_set.uri.replace("replicaSet=rs0", "replicaSet=other")
    backend = MongoBackend(uri=uri, timeout_s=1.0)
    assert "none belongs to that `replicaSet`" in failure(backend.open, 1.0)


def test_a_frozen_server(
    make: Make, new_mongo_server: Callable[..., MongoServer], events_in: EventsIn
) -> None:
    """A server that stops answering ends a send, an open and a close within their limits; the batch
    is stored once afterwards.
    """
    server = new_mongo_server(replica_set=True)
    backend, other, events = (
        make(uri=server.uri, timeout_s=1.0),
        make(uri=server.uri),
        sample_events(10),
    )
    backend.send(events[:5])
    other.send(events[:1])
    server.pause()
    assert "no answer within timeout_s=1" in failure(lambda: backend.send(events), 1.0)
    failure(MongoBackend(uri=server.uri, timeout_s=1.0).open, 1.0)
    start = time.monotonic()
    other.close()
    assert time.monotonic() - start < 1.0 + SLACK_S
    server.resume()
    retried(backend, events)
    assert events_in(server.uri, "eventtracking").count_documents({}) == 10


def through(proxy: TcpProxy, server: RunningService) -> str:
    """Name a server by a proxy before it."""
    return server.uri.replace(f":{server.port}/", f":{proxy.port}/")


def test_a_black_hole(
    make: Make,
    mongo_server: RunningService,
    new_tcp_proxy: Callable[[int], TcpProxy],
    database: str,
) -> None:
    """A network that swallows everything ends each call within its limit."""
    proxy = new_tcp_proxy(mongo_server.port)
    uri = through(proxy, mongo_server)
    backend = make(uri=uri, database=database, timeout_s=1.0)
    proxy.black_hole()
    failure(lambda: backend.send(sample_events(3)), 1.0)
    failure(MongoBackend(uri=uri, timeout_s=1.0).open, 1.0)
    proxy.let_pass()
    retried(backend, sample_events(3))


@pytest.mark.parametrize("cut_after", [0, 500, 20_000])
def test_a_connection_that_is_cut(
    make: Make,
    mongo_server: RunningService,
    new_tcp_proxy: Callable[[int], TcpProxy],
    database: str,
    events_in: EventsIn,
    cut_after: int,
) -> None:
    """A connection that is reset in the middle of a batch is an error to try again, and the batch
    is stored once.
    """
    proxy = new_tcp_proxy(mongo_server.port)
    uri = through(proxy, mongo_server)
    backend, events = make(uri=uri, database=database, timeout_s=2.0), sample_events(500)
    proxy.cut_after(cut_after)
    failure(lambda: backend.send(events), 2.0)
    proxy.let_pass()
    retried(backend, events)
    assert events_in(mongo_server.uri, database).count_documents({}) == 500


@pytest.mark.timeout(180)
def test_killed_in_the_middle_of_a_batch(
    make: Make, new_mongo_server: Callable[..., MongoServer], events_in: EventsIn
) -> None:
    """A server that is killed while it takes a batch, and started again, holds every event once
    when the batch was tried again.
    """
    server = new_mongo_server(replica_set=True)
    backend, events = make(uri=server.uri, timeout_s=2.0), sample_events(30_000)
    collection = events_in(server.uri, "eventtracking")
    outcome: list[int] = []
    sender = threading.Thread(target=lambda: outcome.append(retried(backend, events)))
    sender.start()
    deadline = time.monotonic() + 30.0
    while collection.estimated_document_count() == 0 and time.monotonic() < deadline:
        time.sleep(0.01)
    server.kill()
    time.sleep(2.5)  # longer than the driver itself tries again
    backend.timeout_s = 60.0  # what is stored already takes a slow machine longer the next time
    server.start()
    sender.join()
    assert collection.count_documents({}) == 30_000
    assert outcome
    assert outcome[0] > 0, "the kill came too late to be noticed"


def test_a_write_concern_that_nobody_confirms(
    make: Make,
    new_mongo_server: Callable[..., MongoServer],
    events_in: EventsIn,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Events that are written, and not confirmed by a majority in time, are not delivered; sent
    again they are stored once.
    """
    server = new_mongo_server(replica_set=True)
    backend, events = make(uri=server.uri, timeout_s=1.5, create_indexes=False), sample_events(4)
    backend.send(events[:1])
    with server.client() as client:
        config = client.admin.command("replSetGetConfig")["config"]
        away = {
            "_id": 1,
            "host": "127.0.0.1:1",
            "priority": 0,
        }  # a member that never answers: one of two is no majority
        config["members"].append(away)
        config["settings"]["electionTimeoutMillis"] = (
            600_000  # it stays primary, though it sees no majority
        )
        config["version"] += 1
        client.admin.command("replSetReconfig", config, force=True)
        # The server's deadline is the client's less one round trip, which is nothing here: the
        # answer would race with the end.
        with monkeypatch.context() as patched:
            patched.setattr("pymongo._csot.get_rtt", lambda: 0.5)
            text = failure(lambda: backend.send(events), 1.5)
        assert (
            text == f"MongoDB at {server.address}: it did not confirm the write concern in time"
            " (code 50)"
        )
        config["members"].pop()
        config["version"] += 100_000
        client.admin.command("replSetReconfig", config, force=True)
    retried(backend, events)
    assert events_in(server.uri, "eventtracking").count_documents({}) == 4
