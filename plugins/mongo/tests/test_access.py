"""Users, passwords and rights, on a server that wants them."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote_plus

import pytest
from pymongo.collection import Collection

from eventtracking import DeliveryError, Tracker
from eventtracking_mongo.backend import MongoBackend
from eventtracking_testkit.samples import sample_events
from eventtracking_testkit.services import MongoServer

Make = Callable[..., MongoBackend]
EventsIn = Callable[[str, str], Collection[dict[str, Any]]]
ODD = "p@ss:w/ord?#[]%40 %é&=$+\\'\""


@pytest.fixture
def user(secured: MongoServer, database: str) -> Iterator[str]:
    """Make a user with an odd name and password, who may read and write the test's own database."""
    name = "me@home:" + database
    with secured.client() as client:
        client.admin.command(
            "createUser", name, pwd=ODD, roles=[{"role": "readWrite", "db": database}]
        )
        yield name
        client.admin.command("dropUser", name)


def failure(action: Callable[[], object]) -> str:
    """Do what must fail; the error's text, through pickle.

    No password stands in it, nor in what it came from.
    """
    with pytest.raises(DeliveryError) as caught:
        action()
    error = caught.value
    assert error.__suppress_context__ or error.__context__ is None
    for shown in (str(error), repr(error)):
        assert ODD not in shown
        assert quote_plus(ODD) not in shown
        assert "hunter2" not in shown
    return str(pickle.loads(pickle.dumps(error)))


def test_odd_characters(
    make: Make, secured: MongoServer, user: str, database: str, events_in: EventsIn
) -> None:
    """A password of odd characters works as an option as it is, and in a URI percent-encoded."""
    uri = f"mongodb://{quote_plus(user)}:{quote_plus(ODD)}@{secured.address}/"
    make(host="127.0.0.1", port=secured.port, user=user, password=ODD, database=database).send(
        sample_events(2)
    )
    make(uri=uri, database=database).send(sample_events(2))
    make(uri=f"mongodb://{secured.address}/", user=user, password=ODD, database=database).send(
        sample_events(2)
    )
    assert events_in(secured.uri, database).count_documents({}) == 6


def test_another_authentication_database(
    make: Make, secured: MongoServer, database: str, events_in: EventsIn
) -> None:
    """A user that another database knows is found through `authSource`, in `extra` or in
    the URI.
    """
    with secured.client() as client:
        client[database].command("createUser", "local", pwd="hunter2", roles=["readWrite"])
    host: dict[str, Any] = {
        "host": [secured.address],
        "user": "local",
        "password": "hunter2",
        "database": database,
    }
    make(**host, extra={"authSource": database}).send(sample_events(1))
    make(
        uri=f"mongodb://local:hunter2@{secured.address}/?authSource={database}", database=database
    ).send(sample_events(1))
    assert events_in(secured.uri, database).count_documents({}) == 2
    assert "(AuthenticationFailed)" in failure(MongoBackend(**host).open)


@pytest.mark.parametrize("password", ["hunter2", "hunter2" + ODD])
def test_a_wrong_password(secured: MongoServer, password: str) -> None:
    """A wrong password is a clear error, which does not contain it, however it was given."""
    expected = (
        f"MongoDB at {secured.address}: it refuses the user or the password (AuthenticationFailed):"
        " check them, and `authSource`, the database that knows the user"
    )
    by_options = MongoBackend(host=secured.address, user=secured.user, password=password)
    by_uri = MongoBackend(uri=f"mongodb://{secured.user}:{quote_plus(password)}@{secured.address}/")
    for backend in (by_options, by_uri):
        assert failure(backend.open) == expected
        backend.close()


def test_a_wrong_password_in_a_tracker(secured: MongoServer) -> None:
    """The application starts and goes on; the event is counted as failed, for a reason that names
    no password.
    """
    uri = f"mongodb://me:hunter2@{secured.address}/"
    with Tracker.from_config({"backends": {"it": {"plugin": "mongo", "uri": uri}}}) as tracker:
        tracker.emit("a")
        counts = tracker.stats()["it"]
    (reason,) = counts.reasons
    assert (counts.received, counts.failed) == (1, 1)
    assert "AuthenticationFailed" in reason
    assert "hunter2" not in reason


def test_no_user_where_one_is_wanted(secured: MongoServer) -> None:
    """A server that wants a user is told from one that is open when the backend opens."""
    assert "a server that wants a user refuses writes without one" in failure(
        MongoBackend(host=secured.address).open
    )


def test_a_user_who_may_only_read(make: Make, secured: MongoServer, database: str) -> None:
    """A user without the right to write can connect, and no event is stored; the error says which
    right is missing.
    """
    with secured.client() as client:
        client.admin.command(
            "createUser", database, pwd="hunter2", roles=[{"role": "read", "db": database}]
        )
    options = {
        "host": secured.address,
        "user": database,
        "password": "hunter2",
        "database": database,
    }
    backend = make(**options)
    assert "(Unauthorized): the user needs the role readWrite" in failure(
        lambda: backend.send(sample_events(2))
    )


def test_a_user_who_may_only_insert(
    make: Make,
    secured: MongoServer,
    database: str,
    events_in: EventsIn,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A user who may not make indexes delivers without them, and the log says so."""
    right = {"resource": {"db": database, "collection": "events"}, "actions": ["insert"]}
    with secured.client() as client:
        client[database].command("createRole", "inserter", privileges=[right], roles=[])
        client[database].command("createUser", "only", pwd="hunter2", roles=["inserter"])
    uri = f"mongodb://only:hunter2@{secured.address}/?authSource={database}"
    make(uri=uri, database=database).send(sample_events(2))
    assert events_in(secured.uri, database).count_documents({}) == 2
    assert "cannot make the index on `timestamp`" in caplog.text
    assert "the user may not (the role readWrite allows it)" in caplog.text
    assert "hunter2" not in caplog.text
