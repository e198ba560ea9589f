"""Batches within a backend's limits, time, and what processors may ask for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import attrs
import pytest
from eventtracking_fakes import ROUTERS

from eventtracking import (
    ConfigError,
    DeliveryError,
    Event,
    Outcome,
    Rejected,
    Tracker,
    Undelivered,
    config,
)
from eventtracking.protocols import Place
from eventtracking_testkit.distribution import fake_distribution

BATCHES: list[int] = []
PLACES: list[Place] = []


@attrs.define(eq=False)
class Limited:
    """Take no more than 50 events at once."""

    max_batch_events: ClassVar[int] = 50
    trouble: ClassVar[dict[int, Exception]] = {}
    ticks: ClassVar[list[str]] = []

    def send(self, events: Sequence[Event]) -> None:
        BATCHES.append(len(events))
        if len(BATCHES) in self.trouble:
            raise self.trouble[len(BATCHES)]

    def tick(self) -> None:
        self.ticks.append("tick")
        raise OSError


@attrs.define(eq=False)
class Small:
    """Take no more than 1,000 bytes at once."""

    max_batch_bytes: ClassVar[int] = 1_000

    def send(self, events: Sequence[Event]) -> None:
        BATCHES.append(len(events))


@attrs.define(eq=False)
class Strict:
    """Refuse, and tell what place it has."""

    fails_closed: ClassVar[bool] = True

    def bind(self, place: Place) -> None:
        PLACES.append(place)

    def __call__(self, event: Event) -> Event:
        if event.name == "bad":
            raise Rejected({event.id: "not for this place"})
        if event.name == "odd":
            raise Rejected({"other": "not this one"})
        if event.name == "first":
            PLACES[0].submit(Event(name="record"))
            PLACES[0].remark("seen", 2)
        return event


@pytest.fixture(autouse=True)
def plugins() -> Iterator[None]:
    for memory in (BATCHES, PLACES, Limited.ticks, Limited.trouble):
        memory.clear()
    with fake_distribution(plugins={"limited": Limited, "small": Small, "strict": Strict}):
        yield


def holding(node: dict[str, Any]) -> tuple[Tracker, Any]:
    tree = {"plugin": "deferring", "key": "h", "backends": {"b": node}}
    return Tracker.from_config({"backends": {"h": tree}}), ROUTERS["h"]


def test_batches_hold_no_more_events_than_the_backend_takes() -> None:
    """400 events go out in 8 sends of 50."""
    made, holder = holding({"plugin": "limited"})
    for _ in range(400):
        made.emit("x")
    assert holder.deliver() == {}
    assert BATCHES == [50] * 8


def test_batches_hold_no_more_bytes_than_the_backend_takes() -> None:
    """An event that is larger than the limit goes alone."""
    made, holder = holding({"plugin": "small"})
    for size in (200, 200, 200, 5_000, 200):
        made.emit("x", {"text": "a" * size})
    holder.deliver()
    assert sum(BATCHES) == 5
    assert BATCHES[-2:] == [1, 1]
    assert max(BATCHES) < 4


@pytest.mark.parametrize(
    ("error", "sends", "pause"),
    [(OSError(), 2, 0.0), (DeliveryError("x", retry_after_s=9), 2, 9.0)],
)
def test_batches_behind_a_failed_one_are_not_tried(
    error: Exception, sends: int, pause: float
) -> None:
    """That is no attempt of theirs, and a pause holds for them, too."""
    Limited.trouble[2] = error
    made, holder = holding({"plugin": "limited"})
    for _ in range(200):
        made.emit("x")
    answer = holder.deliver()
    assert (len(BATCHES), answer.pauses["h/b"]) == (2, pause)
    assert sum(outcome is Outcome.DELIVERED for outcome in answer.outcomes["h/b"].values()) == 50
    assert len(answer["h/b"]) == 150
    assert holder.deliver() == {}
    assert made.stats()["h/b"].delivered == 200


def test_batches_behind_a_partial_success_are_tried() -> None:
    """Only the events that it names come again."""
    made, holder = holding({"plugin": "limited"})
    events = [Event(name="x") for _ in range(100)]
    Limited.trouble[1] = Undelivered({events[0].id: "busy"}, {events[1].id: "bad"})
    for event in events:
        made.submit(event)
    answer = holder.deliver()
    assert set(answer["h/b"]) == {events[0].id, events[1].id}
    assert BATCHES == [50, 50]


def test_a_router_calls_tick_of_the_backends_below_it() -> None:
    """Only of open ones; one that raises is named in the reasons."""
    made, holder = holding({"plugin": "limited"})
    below = holder.downstream
    assert below.ticks("h/b")
    below.tick()
    assert Limited.ticks == []
    made.emit("x")
    holder.deliver()
    below.tick("h/b")
    below.tick()
    assert Limited.ticks == ["tick", "tick"]
    assert made.stats()["h/b"].reasons == {"tick() raised OSError": 2}


def test_a_processor_knows_its_place() -> None:
    """Its path and the routers above; it may send other events, and remark on the route."""
    made, holder = holding({"plugin": "limited", "processors": [{"plugin": "strict"}]})
    assert (PLACES[0].path, PLACES[0].above) == ("h/b", ("deferring",))
    made.emit("first")
    holder.deliver()
    assert [event.name for event in holder.held.values()] == ["record"]
    assert made.stats()["h/b"].reasons == {"seen": 2}


def test_what_a_processor_rejects_is_refused_for_good() -> None:
    """Below a router it is a rejection at that leaf; one that names another event broke."""
    made, holder = holding({"plugin": "limited", "processors": [{"plugin": "strict"}]})
    bad = Event(name="bad")
    made.submit(bad)
    made.emit("odd")
    answer = holder.deliver()
    assert isinstance(answer["h/b"][bad.id], Rejected)
    assert made.stats()["h/b"].reasons == {"failed: strict raised ValueError": 1}


def test_in_the_chain_of_a_group_each_leaf_refuses() -> None:
    """Every leaf below is asked for its dead letter."""
    leaves = {"a": {"plugin": "limited"}, "b": {"plugin": "small"}}
    made, holder = holding({"processors": [{"plugin": "strict"}], "backends": leaves})
    made.emit("bad")
    assert set(holder.deliver()) == {"h/b/a", "h/b/b"}


def test_without_a_router_what_a_processor_rejects_has_failed() -> None:
    """Its reason is counted."""
    made = Tracker.from_config(
        {"backends": {"b": {"plugin": "limited", "processors": [{"plugin": "strict"}]}}}
    )
    made.emit("bad")
    assert made.stats()["b"].reasons == {"failed: strict rejected: not for this place": 1}


def test_a_processor_that_fails_closed_is_never_passed_over() -> None:
    """The config says so, at its place."""
    node = {"plugin": "limited", "processors": [{"plugin": "strict", "on_error": "pass"}]}
    with pytest.raises(ConfigError) as caught:
        Tracker.from_config({"backends": {"b": node}})
    assert [problem.path for problem in caught.value.problems] == [
        "backends.b.processors[0].on_error"
    ]


def test_a_processor_that_is_passed_over_is_counted() -> None:
    """The reasons say how often, and the event goes on."""
    node = {"plugin": "small", "processors": [{"plugin": "picky", "on_error": "pass"}]}
    made = Tracker.from_config({"backends": {"b": node}})
    made.emit("x", {"poison": 1})
    counts = made.stats()["b"]
    assert (counts.delivered, counts.reasons) == (1, {"passed: picky raised KeyError": 1})


def test_only_a_router_that_defers_silences_the_warnings() -> None:
    """A network below one that passes through is waited for, and nothing calls a tick."""
    nodes = {"net": {"plugin": "failing"}, "timed": {"plugin": "limited"}}
    for plugin, expected in (("passing", ["net", "timed"]), ("deferring", [])):
        spec = config.parse({"backends": {"r": {"plugin": plugin, "backends": nodes}}})
        assert [p.path.rpartition(".")[2] for p in config.advice(spec)] == expected
