"""What a backend's answer means for each event, inline and below a router."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from eventtracking_fakes import ACTIONS, ROUTERS, fail

from eventtracking import (
    ConfigError,
    DataError,
    DeliveryError,
    Event,
    EventTrackingError,
    OptionsError,
    PluginError,
    Rejected,
    Tracker,
    Undelivered,
)
from eventtracking.errors import pause_of, reason_of

CONTRADICTIONS: list[Any] = [
    Rejected({}),
    Rejected({"unknown": "bad"}),
    Undelivered({}),
    Undelivered({"unknown": "busy"}),
    Undelivered({}, {"unknown": "bad"}),
    Undelivered({"1": "busy"}, {"1": "bad"}),
    Undelivered({"1": "busy", "unknown": "busy"}),
]


def tracker(**node: Any) -> Tracker:
    return Tracker.from_config({"backends": {"f": {"plugin": "failing", "key": "f", **node}}})


@pytest.mark.parametrize("error", CONTRADICTIONS, ids=str)
def test_an_answer_that_contradicts_itself_fails_the_whole_batch(error: Any) -> None:
    """Unknown ids, no ids, or ids in both mappings: nothing counts as delivered."""
    ACTIONS["f"] = fail(error)
    made = tracker()
    made.submit(Event(name="x", id="1"))
    counts = made.stats()["f"]
    assert (counts.received, counts.failed, counts.delivered) == (1, 1, 0)
    assert [r for r in counts.reasons if type(error).__name__ in r and "names" in r]


@pytest.mark.parametrize("error", CONTRADICTIONS, ids=str)
def test_below_a_router_a_contradiction_may_be_tried_again(error: Any) -> None:
    """Each event of the batch is reported as failed, none as rejected."""
    ACTIONS["f"] = fail(error)
    node = {"plugin": "holding", "backends": {"f": {"plugin": "failing", "key": "f"}}}
    Tracker.from_config({"backends": {"r": node}})
    batch = [Event(name="x", id="1"), Event(name="x", id="2")]
    found = ROUTERS[""].downstream.deliver(batch)["r/f"]
    assert set(found) == {"1", "2"}
    assert not any(isinstance(e, Rejected) for e in found.values())


def test_partial_success_tells_the_events_apart() -> None:
    """Some again with their pause, some never, the rest delivered."""
    ACTIONS["f"] = fail(Undelivered({"1": "busy"}, {"2": "too large"}, retry_after_s=3))
    node = {"plugin": "holding", "backends": {"f": {"plugin": "failing", "key": "f"}}}
    Tracker.from_config({"backends": {"r": node}})
    batch = [Event(name="x", id=key) for key in "123"]
    found = ROUTERS[""].downstream.deliver(batch)["r/f"]
    assert set(found) == {"1", "2"}
    assert (pause_of(found["1"]), pause_of(found["2"])) == (3.0, None)
    assert isinstance(found["2"], Rejected)
    assert reason_of(found["1"], "1") == "Undelivered: busy"


def test_without_a_router_partial_success_is_delivered_or_failed() -> None:
    """Nothing tries again, so an event to be retried has failed, with its reason."""
    made = tracker()
    ACTIONS["f"] = fail(Undelivered({"1": "busy"}))
    made.submit(Event(name="x", id="1"))
    assert made.stats()["f"].reasons == {"failed: Undelivered: busy": 1}


def test_pauses_have_bounds() -> None:
    """A pause is from 0 to 3,600 s; an odd one is no reason to wait forever."""
    asked = [-1, 0, 2.5, 1e9, float("inf"), float("nan"), None, "soon"]
    found = [pause_of(DeliveryError("x", retry_after_s=a)) for a in asked]  # type: ignore[arg-type]  # wrong on purpose
    assert found == [0.0, 0.0, 2.5, 3600.0, 3600.0, 0.0, None, None]
    assert pause_of(OSError()) is None


@pytest.mark.parametrize(
    "error",
    [
        Undelivered({"1": "busy"}, {"2": "bad"}, retry_after_s=3.0),
        Rejected({"1": "bad"}),
        DeliveryError("down", retry_after_s=7.0),
    ],
)
def test_the_errors_pickle(error: Exception) -> None:
    """They move between processes whole."""
    back = pickle.loads(pickle.dumps(error))
    assert (type(back), str(back), vars(back)) == (type(error), str(error), vars(error))


@pytest.mark.parametrize("kind", [ConfigError, DataError, DeliveryError, OptionsError, PluginError])
def test_one_clause_catches_every_error(kind: type[Exception]) -> None:
    """The answers of plugins, `Rejected` and `Undelivered`, are no errors of that tree."""
    assert issubclass(kind, EventTrackingError)
    assert not issubclass(Rejected, EventTrackingError)
    assert not issubclass(Undelivered, EventTrackingError)
