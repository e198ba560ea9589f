"""Events that wait for the surrounding transaction."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import transaction
from django.test import AsyncClient, TestCase, override_settings

from eventtracking import Counts, DataError, EventLossWarning, tracker
from eventtracking_django.testing import capture_events
from eventtracking_django.tracker import DjangoTracker, emit

pytestmark = pytest.mark.needs("logger")

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
    """An inner transaction that is rolled back takes its events with it; those of the outer one are
    sent.
    """
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
    """An alias that names no database does not raise into the caller: the event is sent at once,
    and that is told.
    """
    with transaction.atomic():
        emit("a", on_commit=True, using="nowhere")
        found = counts()
    assert found.delivered == 1
    assert found.reasons == {
        "mended: the event does not wait: no database 'nowhere' (ConnectionDoesNotExist)": 1
    }


def fail() -> None:
    """A hook of somebody else's."""
    raise RollbackError


@transaction.atomic
def commit_with_a_hook_that_fails() -> None:
    """Commit three events, and a hook that raises behind the first."""
    emit("a", on_commit=True)
    transaction.on_commit(fail)
    emit("b", on_commit=True)
    emit("c", on_commit=True)


def test_what_is_committed_is_sent_whatever_other_hooks_do(
    counts: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A hook that raises keeps none of our events from being sent, in their order and once, and
    goes on to the caller.
    """
    for _ in range(2):
        with caplog.at_level(logging.INFO, "tests.commit"), pytest.raises(RollbackError):
            commit_with_a_hook_that_fails()
    found = counts()
    assert (found.received, found.delivered, found.reasons) == (6, 6, {})
    assert [
        json.loads(record.getMessage())["name"]
        for record in caplog.records
        if record.name == "tests.commit"
    ] == [
        "a",
        "b",
        "c",
    ] * 2


def test_an_event_of_a_hook_is_sent(counts: Any) -> None:
    """A hook that emits when the transaction is over has its event sent at once."""
    with transaction.atomic():
        transaction.on_commit(lambda: emit("late", on_commit=True))
        emit("a", on_commit=True)
    assert counts().delivered == 2


@pytest.mark.timeout(180)
def test_djangos_test_case_runs_what_waits(counts: Any) -> None:
    """`captureOnCommitCallbacks` finds the waiting events, and sends them when it is told to."""
    with transaction.atomic():
        with TestCase.captureOnCommitCallbacks(execute=True) as callbacks:
            emit("a", on_commit=True)
            emit("b", on_commit=True)
            assert counts().received == 0
        assert (len(callbacks), counts().delivered) == (2, 2)
        transaction.set_rollback(True)
    assert counts().received == 2


def test_without_autocommit_it_cannot_wait(counts: Any) -> None:
    """Outside of `atomic`, with autocommit off, Django tells of no commit: the event is sent at
    once, and that is told.
    """
    transaction.set_autocommit(False)
    try:
        emit("a", on_commit=True)
        found = counts()
        transaction.rollback()
    finally:
        transaction.set_autocommit(True)
    reason = (
        "mended: the event does not wait: autocommit is off, and outside of `atomic` Django tells"
        " of no commit"
    )
    assert (found.delivered, found.reasons) == (1, {reason: 1})


class Hostile(str):
    """Text that cannot be used."""

    __slots__ = ()

    def __bool__(self) -> bool:
        raise ZeroDivisionError


class Unusable:
    """A database that takes no hooks."""

    in_atomic_block = True

    def on_commit(self, hook: Any) -> None:
        raise ZeroDivisionError

    def run_and_clear_commit_hooks(self) -> None:
        """Nothing to run."""


@pytest.mark.timeout(180)
def test_nothing_raises_into_the_caller(counts: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that breaks what looks at it, and a connection that takes no hook: each is counted
    once, and none raises.
    """
    with transaction.atomic():
        emit(Hostile("q"), on_commit=True)
    assert counts().delivered == 1
    monkeypatch.setattr(transaction, "get_connection", lambda using: Unusable())
    with pytest.warns(EventLossWarning, match="not captured: ZeroDivisionError"):
        emit("a", on_commit=True)
    found = counts()
    assert (found.received, found.failed) == (2, 1)
    assert found.reasons["failed: not captured: ZeroDivisionError"] == 1


def test_in_strict_mode_bad_data_raises() -> None:
    """In strict mode what cannot be an event raises here, too, and nothing waits."""
    with DjangoTracker.from_config({**CONFIG, "strict": True}) as own:
        strict: Any = own
        with transaction.atomic(), pytest.raises(DataError):
            strict.emit("a", {"lock": object()}, on_commit=True)
        assert own.stats()[""].received == 0


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
    assert [record.name for record in caplog.records if record.name == "tests.commit"] == [
        "tests.commit"
    ]
