"""Explaining the way of an event, without sending it."""

from __future__ import annotations

from typing import Any

import attrs
from eventtracking_fakes import CALLS, RECORDED, ROUTERS

from eventtracking import Event, Tracker
from eventtracking.protocols import Place
from eventtracking_testkit.distribution import fake_distribution


def test_each_route_says_whether_it_would_take_the_event_and_who_decides() -> None:
    """Below a route that says no, everything says no for the same reason; routers are walked
    through.
    """
    made = Tracker.from_config(
        {
            "processors": [{"plugin": "stamp"}],
            "backends": {
                "all": {"plugin": "recording"},
                "some": {
                    "plugin": "holding",
                    "backends": {
                        "yes": {"plugin": "recording"},
                        "no": {
                            "processors": [
                                {"plugin": "stamp", "key": "k"},
                                {"plugin": "by_name", "name": "other"},
                            ],
                            "backends": {"deep": {"plugin": "recording"}},
                        },
                    },
                },
                "broken": {"plugin": "recording", "processors": [{"plugin": "picky"}]},
            },
        }
    )
    decisions = made.explain(Event(name="x", data={"poison": 1}))
    decider = "backends.some.backends.no.processors[1]"
    assert [(d.path, d.outcome.name, d.processor, d.reason) for d in decisions] == [
        ("", "DELIVERED", None, ""),
        ("all", "DELIVERED", None, ""),
        ("some", "DELIVERED", None, ""),
        ("some/yes", "DELIVERED", None, ""),
        ("some/no", "FILTERED", decider, "by_name: the name is not accepted"),
        ("some/no/deep", "FILTERED", decider, "by_name: the name is not accepted"),
        ("broken", "FAILED", "backends.broken.processors[0]", "picky raised KeyError"),
    ]
    assert not RECORDED
    assert all(counts.received == 0 for counts in made.stats().values())


@attrs.define(eq=False)
class Doubling:
    """Submits one event more for each that it is given."""

    place: Any = attrs.field(init=False, default=None)
    sent: list[bool] = attrs.field(init=False, factory=list)

    def bind(self, place: Place) -> None:
        self.place = place

    def __call__(self, event: Event) -> Event:
        if event.name != "second":
            self.sent.append(self.place.submit(Event(name="second")))
        return event


def test_a_processor_that_submits_sends_nothing() -> None:
    """It is told so, in order to send its event the next time."""
    with fake_distribution(plugins={"doubling": Doubling}):
        config = {
            "processors": [{"plugin": "doubling"}],
            "backends": {"all": {"plugin": "recording"}},
        }
        with Tracker.from_config(config) as made:
            (doubling,) = made.routes()[0].processors
            made.explain(Event(name="first"))
            assert made.stats()[""].received == 0
            made.emit("first")
            assert made.stats()["all"].delivered == 2
            assert doubling.sent == [False, True]


def test_a_router_that_passes_through_is_asked_by_a_dry_delivery() -> None:
    """The children that it passes over say so, and nothing is opened, sent or counted."""
    nodes = {
        "a": {"plugin": "recording", "key": "a"},
        "b": {"plugin": "recording", "processors": [{"plugin": "drop"}]},
        "c": {"backends": {"deep": {"plugin": "recording"}}},
    }
    made = Tracker.from_config(
        {"backends": {"p": {"plugin": "passing", "key": "p", "backends": nodes}}}
    )
    router = ROUTERS["p"]
    router.act = lambda below, events: below.deliver(events, only=["p/a", "p/b"])
    decisions = made.explain(Event(name="x"))
    assert [(d.path, d.outcome.name, d.reason) for d in decisions] == [
        ("", "DELIVERED", ""),
        ("p", "DELIVERED", ""),
        ("p/a", "DELIVERED", ""),
        ("p/b", "FILTERED", "drop: not wanted"),
        ("p/c", "FILTERED", "passing: not chosen"),
        ("p/c/deep", "FILTERED", "passing: not chosen"),
    ]
    assert not RECORDED
    assert not CALLS["a"]
    assert all(counts.received == 0 for counts in made.stats().values())


def test_a_router_that_breaks_when_it_is_asked_has_failed() -> None:
    """Explaining raises nothing; the router and what lies below say the same."""
    node = {"plugin": "passing", "key": "p", "backends": {"a": {"plugin": "recording"}}}
    made = Tracker.from_config({"backends": {"p": node}})
    ROUTERS["p"].act = lambda below, events: 1 / 0
    decisions = made.explain(Event(name="x"))
    assert [(d.path, d.outcome.name, d.reason) for d in decisions][1:] == [
        ("p", "FAILED", "passing: ZeroDivisionError"),
        ("p/a", "FAILED", "passing: ZeroDivisionError"),
    ]
