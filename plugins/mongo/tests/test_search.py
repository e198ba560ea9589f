"""Searching stored events, beside the process that writes them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import bson
import pytest

from eventtracking import DeliveryError, Event
from eventtracking_mongo.backend import MongoBackend
from eventtracking_testkit.services.fixtures import RunningService

START = datetime(2026, 1, 1, tzinfo=timezone.utc)


@pytest.fixture
def store(
    make: Callable[..., MongoBackend], mongo_server: RunningService, database: str
) -> MongoBackend:
    """Ten events, a minute apart; written by one backend, read by another that is not open."""
    make(uri=mongo_server.uri, database=database).send(
        [
            Event(
                id=f"id{n}" if n % 4 else f"01900000-0000-7000-8000-00000000000{n}",
                name="even.x" if n % 2 == 0 else "odd_x",
                timestamp=START + timedelta(minutes=n),
                context={"user": {"id": n % 3}, "host": "h"},
                data={"n": n},
                extra={"more": n, "_id": "mine"},
            )
            for n in range(10)
        ]
    )
    return MongoBackend(uri=mongo_server.uri, database=database)


def numbers(found: list[Event]) -> list[int]:
    return [event.data["n"] for event in found]


def test_the_newest_come_first_and_whole(store: MongoBackend) -> None:
    """With the extra keys; the limit holds."""
    found = store.search(limit=2)
    assert numbers(found) == [9, 8]
    assert found[0].extra == {"more": 9, "_id": "mine"}
    assert found[0].timestamp == START + timedelta(minutes=9)
    assert [event.id for event in found] == ["id9", "01900000-0000-7000-8000-000000000008"]
    assert store.search(limit=0) == []


def test_each_filter_counts(store: MongoBackend) -> None:
    """By name, by its beginning without patterns, by time and context."""
    assert numbers(store.search(name="even.x")) == [8, 6, 4, 2, 0]
    assert numbers(store.search(name="odd*")) == [9, 7, 5, 3, 1]
    for name in (".*", "even_*", "odd\0*", "odd\0", "\udc80", "$where"):
        assert store.search(name=name) == []
    since, until = START + timedelta(minutes=2), START + timedelta(minutes=5)
    assert numbers(store.search(since=since, until=until)) == [4, 3, 2]
    assert numbers(store.search(context={"user.id": 0, "host": "h"})) == [9, 6, 3, 0]
    for value in ({"$ne": 1}, 2**70, "0"):
        assert store.search(context={"user.id": value}) == []


def test_pages_follow_each_other(
    store: MongoBackend, make: Callable[..., MongoBackend], database: str
) -> None:
    """From the last event of the page before; ids of one moment may be UUIDs or other texts."""
    first = store.search(limit=4)
    assert numbers(store.search(after=first[-1].id, limit=4)) == [5, 4, 3, 2]
    assert store.search(after="no such id") == []
    moment = START - timedelta(days=1)
    ids = ["a", "b", "01900000-0000-7000-8000-00000000000a", "01900000-0000-7000-8000-00000000000b"]
    make(uri=store.uri, database=database).send(
        [Event(id=one, name="n", timestamp=moment, context={}, data={}) for one in ids]
    )
    after, seen = "01900000-0000-7000-8000-000000000000", []
    while page := store.search(after=after, limit=1):
        after = page[0].id
        seen.append(after)
    assert sorted(seen) == sorted(ids)


def test_an_open_backend_searches_by_its_connection(
    make: Callable[..., MongoBackend], mongo_server: RunningService, database: str
) -> None:
    """It stays open, and documents of others do not hide ours."""
    backend = make(uri=mongo_server.uri, database=database)
    connection: Any = backend._connection
    connection.collection.insert_many(
        [
            {"_id": bson.ObjectId(), "name": "theirs"},
            {"timestamp": START, "name": 7, "data": "text", "context": None},
        ]
    )
    assert [event.name for event in backend.search()] == ["7"]
    assert backend.search()[0].data == {"value": "text"}
    assert backend._connection is connection


def test_without_a_server_it_says_so() -> None:
    """In words, within the time limit."""
    backend = MongoBackend(uri="mongodb://127.0.0.1:9", timeout_s=0.2)
    with pytest.raises(DeliveryError, match=r"MongoDB at 127\.0\.0\.1:9"):
        backend.search()
