"""The backend on real servers: what is stored, and what is refused."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import pytest
from pymongo.collection import Collection

from eventtracking import Event, Rejected
from eventtracking_mongo.backend import MongoBackend
from eventtracking_testkit.forks import run_in_fork
from eventtracking_testkit.samples import sample_events
from eventtracking_testkit.services.fixtures import RunningService

Make = Callable[..., MongoBackend]
EventsIn = Callable[[str, str], Collection[dict[str, Any]]]


def keys_of(collection: Collection[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The indexes by key, without the one on `_id`."""
    found = {index["key"].popitem()[0]: dict(index) for index in collection.list_indexes()}
    del found["_id"]
    return found


def rejections(backend: MongoBackend, events: list[Event]) -> dict[str, str]:
    """Send events of which some must be refused; the reasons."""
    with pytest.raises(Rejected) as caught:
        backend.send(events)
    return caught.value.reasons


def test_a_document(
    make: Make, mongo_server: RunningService, database: str, events_in: EventsIn
) -> None:
    """An event is one document: its id is `_id`, its time an aware date."""
    moment = datetime(2026, 3, 29, 1, 59, 59, 250_000, tzinfo=timezone.utc)
    event = Event(
        name="a.b", timestamp=moment, context={"user_id": 7}, data={"x": [1, {"y": None}]}
    )
    make(uri=mongo_server.uri, database=database).send([event])
    (found,) = events_in(mongo_server.uri, database).find()
    assert found == {
        "_id": uuid.UUID(event.id),
        "name": "a.b",
        "timestamp": moment,
        "context": {"user_id": 7},
        "data": {"x": [1, {"y": None}]},
    }
    assert found["timestamp"].tzinfo is not None


@pytest.mark.process
@pytest.mark.parametrize("concern", ["majority", 1, 0])
@pytest.mark.parametrize("server", ["mongo_server", "mongo_replica_set"])
def test_every_write_concern(
    make: Make,
    database: str,
    events_in: EventsIn,
    concern: Any,
    server: str,
    request: pytest.FixtureRequest,
) -> None:
    """Each write concern stores, twice is once, on a server alone and in a replica set."""
    uri = request.getfixturevalue(server).uri
    backend, events = make(uri=uri, database=database, write_concern=concern), sample_events(20)
    backend.send(events[:15])
    backend.send(events)
    backend.close()
    assert events_in(uri, database).count_documents({}) == 20


def test_what_confirms_a_write(make: Make, mongo_server: RunningService) -> None:
    """`majority` waits for the journal, unless the address says otherwise; its other words on
    writes stay.
    """
    uri = mongo_server.uri
    with_journal = make(uri=uri)._connection
    without = make(uri=uri, extra={"journal": False}, write_concern="majority")._connection
    one = make(uri=uri, extra={"journal": True}, write_concern=1)._connection
    assert with_journal is not None
    assert without is not None
    assert one is not None
    assert with_journal.collection.write_concern.document == {"w": "majority", "j": True}
    assert without.collection.write_concern.document == {"w": "majority", "j": False}
    assert one.collection.write_concern.document == {"w": 1, "j": True}


def test_bad_events_do_not_hurt_the_others(
    make: Make, mongo_server: RunningService, database: str, events_in: EventsIn
) -> None:
    """Of a batch with an event of each bad kind, the good ones are stored and each bad one is named
    with its reason.
    """
    deep: dict[str, Any] = {}
    for _ in range(150):
        deep = {"a": deep}
    good, bad = (
        sample_events(6),
        [Event(name="bad", data=data) for data in ({"n": 2**64}, {"a\x00b": 1}, deep)],
    )
    bad.append(Event(name="bad", data={"text": "x" * (17 * 1024 * 1024)}))
    batch = [good[0], bad[0], good[1], bad[1], good[2], bad[2], good[3], bad[3], *good[4:]]
    backend = make(uri=mongo_server.uri, database=database)
    reasons = rejections(backend, batch)
    assert list(reasons) == [event.id for event in bad]
    assert rejections(backend, batch) == reasons
    assert events_in(mongo_server.uri, database).count_documents({}) == 6
    assert list(rejections(backend, bad)) == [event.id for event in bad]


def test_the_largest_documents(
    make: Make, mongo_server: RunningService, database: str, events_in: EventsIn
) -> None:
    """Documents of almost 16 MB, together more than one message of the protocol may hold, are all
    stored.
    """
    events = [
        Event(name="large", data={"text": "x" * (16 * 1024 * 1024 - 1_000)}) for _ in range(4)
    ]
    make(uri=mongo_server.uri, database=database, timeout_s=60).send(events)
    collection = events_in(mongo_server.uri, database)
    assert collection.count_documents({}) == 4
    collection.database.client.drop_database(database)


def test_more_events_than_one_command_takes(
    make: Make, mongo_server: RunningService, database: str, events_in: EventsIn
) -> None:
    """A batch of more than 100,000 events is stored, and a bad one behind that limit is named."""
    events = [Event(name="small") for _ in range(100_050)]
    events[100_020] = events[100_020].replace(data={"n": 2**64})
    backend = make(
        uri=mongo_server.uri,
        database=database,
        create_indexes=False,
        write_concern=1,
        timeout_s=120,
    )
    assert list(rejections(backend, events)) == [events[100_020].id]
    collection = events_in(mongo_server.uri, database)
    assert collection.estimated_document_count() == 100_049
    collection.database.client.drop_database(database)


def test_a_unique_index_of_the_users(
    make: Make, mongo_server: RunningService, database: str, events_in: EventsIn
) -> None:
    """What another unique index refuses is rejected, with the index's keys and no value; redelivery
    is still no error.
    """
    collection = events_in(mongo_server.uri, database)
    collection.create_index([("data.order", 1)], unique=True)
    backend = make(uri=mongo_server.uri, database=database)
    first, second, third = (
        Event(name="a", data={"order": order}) for order in ("o-17", "o-17", "o-18")
    )
    backend.send([first])
    reason = "a unique index of the collection on data.order has its value already (DuplicateKey)"
    assert rejections(backend, [first, second, third]) == {second.id: reason}
    backend.send([first, third])
    assert collection.count_documents({}) == 2


def test_a_validator_of_the_users(
    make: Make, mongo_server: RunningService, database: str, events_in: EventsIn
) -> None:
    """What the collection's own rule refuses is rejected, and the others are stored."""
    collection = events_in(mongo_server.uri, database)
    collection.database.create_collection("events", validator={"data.number": {"$lt": 3}})
    events = sample_events(5)
    reasons = rejections(make(uri=mongo_server.uri, database=database), events)
    assert reasons == {
        event.id: "the collection's validator refuses it (DocumentValidationFailure)"
        for event in events[3:]
    }
    assert collection.count_documents({}) == 3


def test_indexes(
    make: Make, mongo_server: RunningService, database: str, events_in: EventsIn
) -> None:
    """`timestamp` and `name` have indexes after the first use; opening again changes nothing."""
    collection = events_in(mongo_server.uri, database)
    for _ in range(2):
        make(uri=mongo_server.uri, database=database)
        assert set(keys_of(collection)) == {"timestamp", "name"}


def test_no_indexes(
    make: Make, mongo_server: RunningService, database: str, events_in: EventsIn
) -> None:
    """Without `create_indexes` there are none."""
    make(uri=mongo_server.uri, database=database, create_indexes=False).send(sample_events(1))
    assert keys_of(events_in(mongo_server.uri, database)) == {}


def test_expiry(
    make: Make, mongo_server: RunningService, database: str, events_in: EventsIn
) -> None:
    """`expire_after_s` makes the index by which MongoDB deletes, changes it later, and needs no
    other index.
    """
    collection, options = (
        events_in(mongo_server.uri, database),
        {"uri": mongo_server.uri, "database": database},
    )
    make(**options, expire_after_s=3_600, create_indexes=False)
    assert {key: index["expireAfterSeconds"] for key, index in keys_of(collection).items()} == {
        "timestamp": 3_600
    }
    make(**options, expire_after_s=60)
    indexes = keys_of(collection)
    assert (set(indexes), indexes["timestamp"]["expireAfterSeconds"]) == ({"timestamp", "name"}, 60)


def test_expiry_on_an_index_that_is_there(
    make: Make, mongo_server: RunningService, database: str, events_in: EventsIn
) -> None:
    """`expire_after_s` that is added later turns the index on `timestamp` into one that deletes."""
    collection, options = (
        events_in(mongo_server.uri, database),
        {"uri": mongo_server.uri, "database": database},
    )
    make(**options)
    make(**options, expire_after_s=60)
    assert keys_of(collection)["timestamp"]["expireAfterSeconds"] == 60


def test_expiry_that_is_left_out_again(
    make: Make, mongo_server: RunningService, database: str, caplog: pytest.LogCaptureFixture
) -> None:
    """An index that deletes, which the config no longer wants, stays, and the log says so."""
    make(uri=mongo_server.uri, database=database, expire_after_s=60)
    make(uri=mongo_server.uri, database=database).send(sample_events(1))
    assert "index on `timestamp` in" in caplog.text
    assert "there is one with other options, such as another expiry" in caplog.text


def test_indexes_that_cannot_be_made(
    make: Make,
    mongo_server: RunningService,
    database: str,
    events_in: EventsIn,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An index that fails is logged once and loses no event; it is made with a later batch, once
    that is possible.
    """
    monkeypatch.setattr("eventtracking_mongo.backend._TRY_INDEXES_AFTER_S", 0.0)
    collection = events_in(mongo_server.uri, database)
    collection.create_index([("other", 1)], name="name_1")
    backend = make(uri=mongo_server.uri, database=database)
    for event in sample_events(3):
        backend.send([event])
    (message,) = [
        record.getMessage() for record in caplog.records if record.name == "eventtracking.mongo"
    ]
    assert (
        message
        == f"eventtracking-mongo: cannot make the index on `name` in {database}.events: there is"
        " one of the same name with other options: events are stored without it, and it is"
        " tried again"
    )
    collection.drop_indexes()
    backend.send(sample_events(1))
    assert set(keys_of(collection)) == {"timestamp", "name"}
    assert collection.count_documents({}) == 4


def test_the_parents_client_after_a_fork(
    make: Make, mongo_replica_set: RunningService, database: str, events_in: EventsIn
) -> None:
    """A child needs a client of its own, makes it, and closes only that; the parent goes on with
    the same one.
    """
    backend = make(uri=mongo_replica_set.uri, database=database)
    parents, (before, within, after) = backend._connection, (sample_events(2) for _ in range(3))
    backend.send(before)

    def child() -> None:
        with pytest.raises(Exception, match=r"not open in this process: call open\(\) first"):
            backend.send(within)
        backend.close()
        backend.open()
        assert backend._connection is not parents
        backend.send(within)
        backend.close()

    run_in_fork(child)
    backend.send(after)
    assert backend._connection is parents
    assert events_in(mongo_replica_set.uri, database).count_documents({}) == 6
