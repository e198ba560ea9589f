"""Records: the documentation of a type follows its first event."""

from __future__ import annotations

import os
import threading
from datetime import datetime, timedelta, timezone

import attrs
import pytest
from test_checking import catalog

from eventtracking import Event
from eventtracking_catalog import event, register
from eventtracking_catalog.registry import registry
from eventtracking_testkit.forks import run_in_fork


def conforming(name: str) -> Event:
    return Event(name=name, data={"a": 1})


def test_a_record_follows_the_first_event() -> None:
    """It is sent once, with the documentation, and says where the type is declared and emitted."""

    @event("recorded.first", owner="learning", version=3)
    @attrs.define
    class First:
        """The first."""

        a: int

    one, seat = catalog()
    stamped = [one(conforming("recorded.first")) for _ in range(3)]
    (record,) = seat.sent
    assert record.name == "eventtracking.event_type"
    assert record.data["schema"] == stamped[0].extra["schema"]
    assert record.data["name"] == "recorded.first"
    assert record.data["description"] == "The first."
    assert (record.data["owner"], record.data["version"]) == ("learning", "3")
    assert record.data["fields"] == {"a": {"type": "int", "required": True}}
    assert "First" in record.data["declared_at"]
    assert record.data["emitted_from"]["module"] == __name__
    assert record.context == {}
    record.to_json()


def test_a_record_a_day() -> None:
    """While the type is emitted, its record is sent again each day, with the same id."""
    register("recorded.daily", "x", {"a": "int"})
    one, seat = catalog()
    now = [datetime(2026, 1, 1, tzinfo=timezone.utc)]
    one._clock = lambda: now[0]

    def emit() -> None:
        one(conforming("recorded.daily").replace(timestamp=now[0]))

    emit()
    emit()
    assert len(seat.sent) == 1
    now[0] += timedelta(days=1)
    emit()
    emit()
    assert len(seat.sent) == 2
    assert len({record.id for record in seat.sent}) == 1


def test_an_event_of_another_time_changes_no_records() -> None:
    """The clock decides: a time far ahead, as of a replay, neither sends a record nor stops one."""
    register("recorded.ahead", "x", {"a": "int"})
    one, seat = catalog()
    now = [datetime(2026, 1, 1, tzinfo=timezone.utc)]
    one._clock = lambda: now[0]
    ahead = conforming("recorded.ahead").replace(
        timestamp=datetime(2099, 1, 1, tzinfo=timezone.utc)
    )
    assert [one(ahead).extra for _ in range(2)] == [one._known[ahead.name].stamp] * 2
    assert len(seat.sent) == 1
    now[0] += timedelta(days=1)
    one(conforming("recorded.ahead").replace(timestamp=now[0]))
    assert len(seat.sent) == 2


def test_the_second_catalog_sends_none() -> None:
    """An event that is stamped already was documented where that was done."""
    register("recorded.twice", "x", {"a": "int"})
    first, _ = catalog()
    second, seat = catalog(above=["buffer"])
    second(first(conforming("recorded.twice")))
    assert seat.sent == []


def test_a_worker_documents_what_it_stamps() -> None:
    """Below a router there is no caller to name."""
    register("recorded.below", "x", {"a": "int"})
    one, seat = catalog(above=["buffer"])
    one(conforming("recorded.below"))
    assert seat.sent[0].data["emitted_from"] is None


def test_records_can_be_left_out() -> None:
    """An option keeps them off a route on purpose."""
    register("recorded.never", "x", {"a": "int"})
    one, seat = catalog(records=False)
    one(conforming("recorded.never"))
    assert seat.sent == []


def test_changed_documentation_is_a_new_record() -> None:
    """The shape, and so the schema, stays; the id of the record differs."""
    register("recorded.docs", "x", {"a": "int"})
    one, seat = catalog()
    one(conforming("recorded.docs"))
    registry._imported.pop(("event", "recorded.docs"))
    register("recorded.docs", "y", {"a": "int"})
    one(conforming("recorded.docs"))
    first, second = seat.sent
    assert first.data["schema"] == second.data["schema"]
    assert first.id != second.id


@pytest.mark.process
def test_a_forked_child_documents_its_events() -> None:
    """Its parent may end before it has sent the record."""
    register("recorded.forked", "x", {"a": "int"})
    one, seat = catalog()
    one(conforming("recorded.forked"))
    parent = os.getpid()

    def child() -> None:
        assert os.getpid() != parent
        one(conforming("recorded.forked"))
        assert len(seat.sent) == 2

    run_in_fork(child)


@pytest.mark.process
def test_a_fork_while_a_declaration_is_registered() -> None:
    """The child does not wait for a lock that a thread of its parent held."""
    register("recorded.locked", "x", {"a": "int"})
    one, _ = catalog()
    with registry._lock:

        def fork() -> None:
            run_in_fork(lambda: one(conforming("recorded.locked")))

        thread = threading.Thread(target=fork)
        thread.start()
        thread.join(20)
        assert not thread.is_alive()
