"""A trial: `mongod` is killed again and again under load, and nothing is lost, doubled or
altered.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from pymongo import MongoClient

from eventtracking import DeliveryError, Event
from eventtracking_mongo.backend import MongoBackend
from eventtracking_testkit.services import MongoServer

BATCH = 100
WRITERS = 2
DEADLINE_S = 900.0


def load(count: int) -> list[Event]:
    """Make events that differ, of some hundred bytes each."""
    chance = random.Random(count)
    return [
        Event(
            name=f"load.{n % 7}",
            context={"user_id": n},
            data={"n": n, "text": "x" * chance.randrange(600)},
        )
        for n in range(count)
    ]


class Writers:
    """Threads that send batches, each until it is acknowledged, spread over as many kills as there
    will be.
    """

    def __init__(self, backend: MongoBackend, events: list[Event]) -> None:
        self.backend = backend
        self.batches = [events[start : start + BATCH] for start in range(0, len(events), BATCH)]
        self.allowed = 0
        """How many batches may be sent so far, so that every kill meets a load."""
        self.taken = 0
        self.done = 0
        self.failures = 0
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._write, daemon=True) for _ in range(WRITERS)]

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def finish(self) -> None:
        """Allow everything, and wait for the end."""
        self.allowed = len(self.batches)
        for thread in self._threads:
            thread.join(DEADLINE_S)
        assert self.done == len(self.batches)

    def _write(self) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline and self.taken < len(self.batches):
            with self._lock:
                mine = self.taken if self.taken < self.allowed else None
                self.taken += mine is not None
            if mine is None:
                time.sleep(0.002)
            else:
                self._deliver(self.batches[mine], deadline)

    def _deliver(self, batch: list[Event], deadline: float) -> None:
        while time.monotonic() < deadline:
            try:
                self.backend.send(batch)
            except DeliveryError:
                with self._lock:
                    self.failures += 1
            else:
                with self._lock:
                    self.done += 1
                return


def kill_under_load(server: MongoServer, count: int, kills: int) -> None:
    """Send events while the server is killed; show that exactly they are there."""
    events = load(count)
    backend = MongoBackend(uri=server.uri, timeout_s=0.7)
    backend.open()
    writers = Writers(backend, events)
    writers.start()
    met = sum(
        kill_once(server, writers, number, len(writers.batches) // kills) for number in range(kills)
    )
    writers.finish()
    backend.close()
    print(
        f"{count} events, {kills} kills, {met} of them under a send, {writers.failures} sends tried"
        " again"
    )
    assert met >= kills // 2, "too few kills met a send"
    check_stored(server, events)


def kill_once(server: MongoServer, writers: Writers, number: int, step: int) -> bool:
    """Kill the server at a random moment of this kill's share of the load; whether a part of the
    share was still to come.
    """
    writers.allowed = (number + 1) * step
    goal = number * step + random.randrange(step // 2)
    wait_until(lambda: writers.taken > goal)
    time.sleep(random.uniform(0.0, 0.01))
    server.kill()
    met = writers.done < writers.allowed
    time.sleep(random.uniform(0.0, 1.0))
    server.start()
    wait_until(lambda: writers.done == writers.allowed)
    return met


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for something that will happen."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def check_stored(server: MongoServer, events: list[Event]) -> None:
    """Show that the server holds these events, each once and as it was sent."""
    with MongoClient[dict[str, Any]](
        server.uri, uuidRepresentation="standard", tz_aware=True
    ) as client:
        found = {str(document["_id"]): document for document in client.eventtracking.events.find()}
        assert client.eventtracking.events.count_documents({}) == len(events)
    assert set(found) == {event.id for event in events}
    for event in events:
        document = found[event.id]
        assert (document["name"], document["context"], document["data"]) == (
            event.name,
            event.context,
            event.data,
        )


@pytest.mark.timeout(180)
def test_a_few_kills_lose_nothing(new_mongo_server: Callable[..., MongoServer]) -> None:
    """Two kills under a load of 4,000 events: all are there, once, as they were sent."""
    kill_under_load(new_mongo_server(replica_set=True), 4_000, 2)


@pytest.mark.soak
def test_many_kills_lose_nothing(new_mongo_server: Callable[..., MongoServer]) -> None:
    """Twenty kills under a load of 20,000 events: all are there, once, as they were sent."""
    kill_under_load(new_mongo_server(replica_set=True), 20_000, 20)


@pytest.mark.soak
def test_many_kills_of_a_server_alone_lose_nothing(
    new_mongo_server: Callable[..., MongoServer],
) -> None:
    """The same without a replica set: `majority` waits for the journal there too."""
    kill_under_load(new_mongo_server(), 20_000, 20)
