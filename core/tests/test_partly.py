"""A config that is sound in part: the sound routes start, and stand-ins hold the broken places."""

from __future__ import annotations

from typing import Any

import pytest
from eventtracking_fakes import RECORDED

from eventtracking import ConfigError, Tracker


def start(config: Any) -> tuple[Tracker, list[str]]:
    tracker = Tracker()
    return tracker, [problem.path for problem in tracker.configure(config, partly=True)]


@pytest.mark.parametrize(
    ("broken", "path"),
    [
        ({"plugin": "recording", "size": 0}, "backends.bad.size"),
        ({"plugin": "not_there_at_all"}, "backends.bad.plugin"),
        ({"plugin": "recording", "processors": [{"plugin": "nope"}]}, "backends.bad.processors[0]"),
        ({"plugin": "recording", "processors": 5}, "backends.bad.processors"),
        ({"plugin": "owning", "thing": ""}, "backends.bad"),
        ({"plugin": "passing", "backends": {}}, "backends.bad.backends"),
        ({"odd": 1, "backends": {"x": {"plugin": "recording"}}}, "backends.bad.odd"),
        ("text", "backends.bad"),
        ({}, "backends.bad"),
    ],
)
def test_a_broken_route_keeps_its_place(broken: Any, path: str) -> None:
    """Its events are failed with the path, and its siblings have theirs."""
    config = {"backends": {"a": {"plugin": "recording"}, "bad": broken}}
    tracker, problems = start(config)
    assert len(problems) == 1
    assert problems[0].startswith(path)
    tracker.emit("x")
    assert len(RECORDED[""]) == 1
    stats = tracker.stats()
    assert (stats["bad"].failed, stats["a"].delivered) == (1, 1)
    assert dict(stats["bad"].reasons) == {"failed: DeliveryError: config: backends.bad": 1}
    with pytest.raises(ConfigError):
        Tracker.from_config(config)


def test_a_broken_child_stays_below_its_sound_parents() -> None:
    """The group above it is sound, and so is the sibling beside it."""
    bad, good = {"plugin": "recording", "size": 0}, {"plugin": "recording"}
    tracker, problems = start({"backends": {"g": {"backends": {"bad": bad, "good": good}}}})
    assert problems == ["backends.g.backends.bad.size"]
    tracker.emit("x")
    stats = tracker.stats()
    assert (stats["g/bad"].failed, stats["g/good"].delivered) == (1, 1)


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize(
    "bad",
    [
        {"plugin": "recording", "size": 0},
        {"plugin": "recording", "key": "${NOT_SET}"},
        {"plugin": "deferring", "refuses": "no", "backends": {"x": {"plugin": "recording"}}},
        {"plugin": "nope"},
        {"plugin": "recording", "processors": [{"plugin": "nope"}]},
        {"backends": {"b": {"plugin": "nope"}, "b.c": {"plugin": "recording"}}, "odd": 1},
        "text",
    ],
)
@pytest.mark.parametrize(
    ("sound", "broken"),
    [("a", "a.b"), ("a", "a[0]"), ("a", "a.backends.x"), ("a.b", "a"), ("a.b", "a.b.c")],
)
def test_names_with_dots_are_told_apart(sound: str, broken: str, bad: Any, order: int) -> None:
    """A route is broken by its own problems alone, not by those of one whose name begins with its
    name, in either order, whether a problem is found before, while, or after it is read.
    """
    good = {"plugin": "passing", "backends": {"y": {"plugin": "recording", "key": "sound"}}}
    routes = [(sound, good), (broken, bad)][::order]
    tracker, problems = start({"backends": {"g": {"backends": dict(routes)}}})
    assert problems
    tracker.emit("x")
    assert len(RECORDED["sound"]) == 1
    assert tracker.stats()[f"g/{broken}"].failed == 1


def test_what_a_plugin_refuses_when_it_is_bound_breaks_its_route_alone() -> None:
    """A refusal in `bind` comes after the config was read, and is one problem more."""
    refusing = {"plugin": "deferring", "refuses": "no", "backends": {"x": {"plugin": "recording"}}}
    config = {"backends": {"a": {"plugin": "recording"}, "bad": refusing}}
    tracker, problems = start(config)
    assert problems == ["backends.bad.refuses"]
    tracker.emit("x")
    assert list(tracker.stats()) == ["", "a", "bad"]
    assert (tracker.stats()["a"].delivered, tracker.stats()["bad"].failed) == (1, 1)


@pytest.mark.parametrize(
    "top",
    [
        {"processors": [{"plugin": "nope"}]},
        {"context": 5},
        {"strict": "yes"},
        {"backend": {}},
        {"values": ["nope"]},
    ],
)
def test_a_problem_of_the_whole_refuses_the_whole(top: dict[str, Any]) -> None:
    """Events must not go past a broken scrubber at the root; the tracker stays as it was."""
    tracker = Tracker.from_config({"backends": {"a": {"plugin": "recording", "key": "before"}}})
    with pytest.raises(ConfigError):
        tracker.configure({"backends": {"a": {"plugin": "recording"}}, **top}, partly=True)
    tracker.emit("x")
    assert len(RECORDED["before"]) == 1


def test_a_sound_config_has_no_problems() -> None:
    """With or without `partly`."""
    config = {"backends": {"a": {"plugin": "recording"}}}
    assert Tracker().configure(config) == []
    assert start(config)[1] == []
