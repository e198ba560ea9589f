"""Observers: named in the config, started once per process, never in the way of an event."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import Any

import attrs
import pytest

from eventtracking import ConfigError, Counts, Event, Tracker
from eventtracking_testkit.distribution import fake_distribution

CALLS: list[tuple[Any, ...]] = []
"""Each call of an observer, with its label."""


@attrs.define(eq=False)
class Watch:
    """Remember each call."""

    label: str = "w"

    def start(self, tracker: Tracker) -> None:
        CALLS.append((self.label, "start", os.getpid()))

    def delivered(self, route: str, count: int, duration_s: float) -> None:
        assert duration_s >= 0
        CALLS.append((self.label, "delivered", route, count))

    def close(self) -> None:
        CALLS.append((self.label, "close"))


@attrs.define(eq=False)
class BrokenWatch:
    """Raise in every method."""

    def start(self, tracker: Tracker) -> None:
        raise OSError("no port")


@attrs.define(eq=False)
class BrokenListener(Watch):
    """Raise when told of a batch."""

    def delivered(self, route: str, count: int, duration_s: float) -> None:
        CALLS.append((self.label, "broke"))
        raise ValueError(route)


@attrs.define(eq=False)
class Straight:
    """A router that delivers inside `send`, and whose counts are common to several processes."""

    downstream: Any = attrs.field(init=False)

    def bind(self, downstream: Any) -> None:
        self.downstream = downstream

    def send(self, events: Sequence[Event]) -> None:
        self.downstream.deliver(events)

    def counts(self) -> dict[str, Counts]:
        return {self.downstream.path: Counts(received=1000, delivered=1000)}

    def status(self) -> Any:
        return attrs.make_class("Status", {"shared": attrs.field(default=True)})()


PLUGINS = {"watch": Watch, "broken": BrokenWatch, "listener": BrokenListener, "straight": Straight}


def tracker_with(*observers: dict[str, Any]) -> Tracker:
    CALLS.clear()
    below = {"leaf": {"plugin": "recording"}}
    with fake_distribution(plugins=PLUGINS):
        return Tracker.from_config(
            {
                "observers": list(observers),
                "backends": {
                    "a": {"plugin": "recording"},
                    "r": {"plugin": "straight", "backends": below},
                },
            }
        )


def test_an_observer_starts_with_the_first_open_and_closes_last() -> None:
    """It is told of each batch that a router delivers, and of no inline emit."""
    made = tracker_with({"plugin": "watch"})
    assert CALLS == []
    made.emit("x")
    made.emit("y")
    assert [
        ("w", "start", os.getpid()),
        ("w", "delivered", "r/leaf", 1),
        ("w", "delivered", "r/leaf", 1),
    ] == CALLS
    made.close()
    assert CALLS[-1] == ("w", "close")


def test_one_that_raises_is_switched_off_and_named(caplog: pytest.LogCaptureFixture) -> None:
    """Events and the other observers go on; it is called no more."""
    made = tracker_with({"plugin": "broken"}, {"plugin": "listener", "label": "l"})
    with caplog.at_level(logging.WARNING, "eventtracking"):
        made.emit("x")
        made.emit("y")
    assert "observers[0]: the observer broken is switched off (start() raised OSError" in (
        caplog.text
    )
    assert "observers[1]: the observer listener is switched off (delivered() raised" in caplog.text
    assert [("l", "start", os.getpid()), ("l", "broke"), ("l", "close")] == CALLS
    assert made.stats()[""].delivered == 2


@pytest.mark.process
def test_a_forked_child_starts_its_own() -> None:
    """The parent's observer is not started again, the child's with its first open."""
    made = tracker_with({"plugin": "watch"})
    made.emit("x")
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            CALLS.clear()
            made.emit("in the child")
            os.write(writing, repr(CALLS[0] == ("w", "start", os.getpid())).encode())
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    assert os.read(reading, 100) == b"True"
    os.close(reading)
    os.close(writing)
    assert [call[1] for call in CALLS].count("start") == 1
    made.close()


def test_a_new_config_closes_the_observers_of_the_old_one() -> None:
    """The new ones start with the next open."""
    made = tracker_with({"plugin": "watch", "label": "old"})
    made.emit("x")
    with fake_distribution(plugins=PLUGINS):
        made.configure(
            {
                "observers": [{"plugin": "watch", "label": "new"}],
                "backends": {"a": {"plugin": "recording"}},
            }
        )
    made.emit("y")
    assert ("old", "close") in CALLS
    assert CALLS[-1] == ("new", "start", os.getpid())
    made.close()


def test_what_is_wrong_with_an_observer_is_a_problem_with_its_path() -> None:
    """Shape, plugin, kind and options are checked as those of every node."""
    with fake_distribution(plugins=PLUGINS), pytest.raises(ConfigError) as caught:
        Tracker.from_config(
            {
                "observers": [
                    "watch",
                    {"plugin": "recording"},
                    {"plugin": "watch", "labl": "x", "on_error": "pass"},
                    {"plugin": "nobody_has_this"},
                ],
                "backends": {"a": {"plugin": "watch"}},
            }
        )
    text = str(caught.value)
    for part in (
        "observers[0]: expected a table",
        "observers[1].plugin: expected an observer",
        "observers[2].labl",
        "observers[2].on_error: an observer takes no on_error",
        "observers[3].plugin",
        "backends.a.plugin: expected a backend",
    ):
        assert part in text, text


def test_routes_tell_the_tree_and_nothing_more() -> None:
    """The root comes first, parents before their children; nobody can change it."""
    made = tracker_with()
    routes = {view.path: view for view in made.routes()}
    assert list(routes) == ["", "a", "r", "r/leaf"] == list(made.stats())
    assert routes["r"].plugin == "straight"
    assert routes["r"].children == (routes["r/leaf"],)
    assert routes[""].children == (routes["a"], routes["r"])
    assert routes["a"].backend.key == ""
    with pytest.raises(AttributeError):
        routes["a"].path = "b"  # type: ignore[misc]  # that is what is shown
    assert Tracker().routes()[0].children == ()


def test_the_counts_of_this_process_can_be_had_alone() -> None:
    """What a router shares with other processes is left out, so that processes can be added up."""
    made = tracker_with()
    made.emit("x")
    assert made.stats()["r"].received == 1000
    assert made.stats(shared=False)["r"].received == 0
    assert made.stats(shared=False)["a"].received == 1
