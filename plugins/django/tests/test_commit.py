"""Events that wait for the surrounding transaction."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import transaction
from django.test import AsyncClient, override_settings

from eventtracking import Counts, tracker
from eventtracking_django.testing import capture_events
from eventtracking_django.tracker import DjangoTracker, emit

CONFIG: dict[str, Any] = {"backends": {"log": {"plugin": "logger", "name": "tests.commit"}}}
ROLLED_BACK = "filtered: the transaction was rolled back"


class RollbackError(Exception):
    """Ends a transaction."""


@transaction.atomic
def emit_and_fail(*names: str) -> None:
    """Emit in a transaction that is rolled back."""
    for name in names:
        emit(name, on_commit=True)
    raise RollbackError


def roll_back(*names: str) -> None:
    """Emit in a transaction, and roll it back."""
    with pytest.raises(RollbackError):
        emit_and_fail(*names)


@pytest.fixture
def counts() -> Iterator[Any]:
    """A default tracker of the test's own; returns what is counted at its root."""
    own = DjangoTracker.from_config(CONFIG)
    former = tracker.get_tracker()
    tracker.register_tracker(own)

    def read() -> Counts:
        gc.collect()
        found = own.stats()[""]
        assert found.balanced
        return found

    yield read
    tracker.register_tracker(former)
    own.close()


def test_it_is_sent_on_commit(counts: Any) -> None:
    """Nothing is sent before the commit, and everything after."""
    with transaction.atomic():
        emit("a", on_commit=True)
        assert counts().received == 0
    assert counts().delivered == 1


def test_a_rolled_back_one_is_filtered(counts: Any) -> None:
    """A rollback sends nothing, and counts each event as filtered, with that reason."""
    roll_back("a", "b")
    found = counts()
    assert (found.received, found.filtered, found.reasons) == (2, 2, {ROLLED_BACK: 2})


def test_a_savepoint_takes_only_its_own_with_it(counts: Any) -> None:
    """An inner transaction that is rolled back takes its events with it; those of the outer one are sent."""
    with transaction.atomic():
        emit("kept", on_commit=True)
        roll_back("lost")
    found = counts()
    assert (found.delivered, found.filtered) == (1, 1)


def test_outside_a_transaction_it_is_sent_at_once(counts: Any) -> None:
    """Without a transaction there is nothing to wait for."""
    emit("a", on_commit=True)
    assert counts().delivered == 1


def test_the_event_is_that_of_the_call(caplog: pytest.LogCaptureFixture) -> None:
    """Time, context and data are those of the call, whatever happens until the commit."""
    data = {"list": [1]}
    with capture_events() as events, transaction.atomic():
        with tracker.context({"user_id": 7}):
            emit("waiting", data, on_commit=True)
            emit("at once", data)
        data["list"].append(2)
    by_name = {event.name: event for event in events}
    waiting = by_name["waiting"]
    assert [event.name for event in events] == ["at once", "waiting"]
    assert (waiting.context, waiting.data) == ({"user_id": 7}, {"list": [1]})
    assert waiting.timestamp <= by_name["at once"].timestamp
    assert waiting.id < by_name["at once"].id


def test_the_setting_is_for_every_emit(counts: Any) -> None:
    """With the setting, the plain `tracker.emit` waits, too, unless the call says otherwise."""
    with override_settings(EVENT_TRACKING_ON_COMMIT=True), transaction.atomic():
        tracker.emit("waits")
        assert counts().received == 0
        emit("does not", on_commit=False)
        assert counts().received == 1
    assert counts().delivered == 2


@pytest.mark.parametrize("data", [None, 3, {"lock": object()}, {1: 2}])
def test_any_data(data: Any, counts: Any) -> None:
    """What emit() takes, it takes here, too, and nothing raises."""
    with transaction.atomic():
        emit("a", data, on_commit=True)
        emit("", data, on_commit=True)
    assert counts().delivered == 2


def test_a_database_that_is_not_there(counts: Any) -> None:
    """An alias that names no database does not raise into the caller: the event is sent at once, and that is told."""
    with transaction.atomic():
        emit("a", on_commit=True, using="nowhere")
        found = counts()
    assert found.delivered == 1
    assert found.reasons == {"mended: the event does not wait: no database 'nowhere' (ConnectionDoesNotExist)": 1}


def test_on_an_event_loop() -> None:
    """In an asynchronous view, which has no transaction, the event is sent at once."""

    async def ask() -> None:
        await AsyncClient().get("/async-page")

    with override_settings(EVENT_TRACKING_ON_COMMIT=True), capture_events() as events:
        asyncio.run(ask())
    assert [event.name for event in events] == ["page.begin", "page.end"]


def test_a_tracker_that_knows_no_transactions(caplog: pytest.LogCaptureFixture) -> None:
    """With a plain tracker as the default one, the helper sends at once."""
    from eventtracking import Tracker

    former = tracker.get_tracker()
    with Tracker.from_config(CONFIG) as plain, caplog.at_level(logging.INFO, "tests.commit"):
        tracker.register_tracker(plain)
        emit("a", on_commit=True)
        tracker.register_tracker(former)
    assert len(caplog.records) == 1
