"""The settings of event-tracking, read as they are."""

from __future__ import annotations

import re
from collections import deque
from typing import Any

import pytest

from eventtracking import ConfigError, Tracker
from eventtracking_legacy import notes
from eventtracking_legacy.engine import Verbatim
from eventtracking_legacy.settings import Translation, translate

pytestmark = pytest.mark.needs("async_celery", "buffer", "mongo", "segment")

B = "eventtracking.backends."
LOGGER = f"{B}logger.LoggerBackend"
ROUTER = f"{B}routing.RoutingBackend"
ASYNC_ROUTER = f"{B}async_routing.AsyncRoutingBackend"
MONGO = f"{B}mongodb.MongoBackend"
SEGMENT = f"{B}segment.SegmentBackend"
REGEX = "eventtracking.processors.regex_filter.RegexFilter"
WHITELIST = "eventtracking.processors.whitelist.NameWhitelistProcessor"


def node(engine: str, **options: Any) -> dict[str, Any]:
    """One node of the settings."""
    return {"ENGINE": engine, "OPTIONS": options}


def texts(translation: Translation) -> set[str]:
    """The texts of the notes."""
    return {note.text for note in translation.notes}


def test_the_logger() -> None:
    """A logger keeps its name and its limit; without a name it is the root logger, as before, and
    it has no limit.
    """
    limited = translate(
        {"log": node(LOGGER, name="tracking", max_event_size=50000, level="DEBUG".lower())}
    )
    assert limited.config == {
        "values": ["legacy"],
        "backends": {
            "log": {
                "plugin": "logger",
                "name": "tracking",
                "level": "debug",
                "max_event_bytes": 50000,
            }
        },
    }
    plain = translate({"log": {"ENGINE": LOGGER}})
    assert plain.config == {
        "values": ["legacy"],
        "backends": {"log": {"plugin": "logger", "name": ""}},
    }
    assert texts(plain) == {notes.LOGGER_LIMIT}


def test_mongo() -> None:
    """Where MongoDB is stays; the acknowledgement that was switched off does not."""
    options = {
        "host": ["a", "b"],
        "port": 1,
        "user": "u",
        "password": "p$",
        "database": "d",
        "collection": "c",
    }
    translation = translate(
        {"mongo": node(MONGO, **options, extra={"w": 0, "tz_aware": True, "maxPoolSize": 3})}
    )
    expected = {"plugin": "mongo", **options, "password": "p$", "extra": {"maxPoolSize": 3}}
    buffered = {"plugin": "buffer", "storage": "memory", "backends": {"mongo": expected}}
    assert translation.config["backends"]["mongo"] == buffered
    assert notes.MONGO_WRITES in texts(translation)


URI = "mongodb://u:p%40@h1,h2:3/track?replicaSet=r"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"host": URI, "port": 27017}, {"uri": URI}),
        ({"host": [URI]}, {"uri": URI}),
        (
            {"host": (URI,), "port": 27099},
            {"uri": "mongodb://u:p%40@h1:27099,h2:3/track?replicaSet=r"},
        ),
        ({"host": "mongodb://[::1]", "port": 1}, {"uri": "mongodb://[::1]:1"}),
        (
            {"host": "mongodb+srv://u:p@cluster.example.org", "port": 1},
            {"uri": "mongodb+srv://u:p@cluster.example.org"},
        ),
        (
            {"extra": {"username": "u", "password": "p$", "authSource": "admin"}},
            {"user": "u", "password": "p$", "extra": {"authSource": "admin"}},
        ),
        ({"host": "h", "extra": {"username": None, "password": None}}, {"host": "h"}),
    ],
)
def test_mongo_that_asks_for_a_password(options: dict[str, Any], expected: dict[str, Any]) -> None:
    """A URI as the host, and a user among pymongo's options, both of which authenticated, become
    options of the plugin.
    """
    translation = translate({"mongo": node(MONGO, **options)})
    assert translation.config["backends"]["mongo"]["backends"]["mongo"] == {
        "plugin": "mongo",
        **expected,
    }
    Tracker.from_config(translation.config).close()


def test_mongos_problems_are_told_at_their_places_without_secrets() -> None:
    """A URI that is none, one among other hosts, and an `extra` that is no dict: each at its place,
    and no password.
    """
    backends = {
        "a": node(MONGO, host="mongodb://u:secret@"),
        "b": node(MONGO, host=["mongodb://u:secret@h", "h2"]),
    }
    translation = translate(backends)
    with pytest.raises(ConfigError) as caught:
        Tracker.from_config(translation.config)
    error = translation.in_settings(caught.value)
    places = [f"EVENT_TRACKING_BACKENDS.{name}.OPTIONS.host" for name in "ab"]
    assert [problem.path for problem in error.problems] == places
    assert "secret" not in str(error)
    with pytest.raises(
        ConfigError, match=r"c\.OPTIONS\.extra: expected a dict .*; found a value of type str$"
    ):
        translate({"c": node(MONGO, extra="secret")})


def test_no_request_waits_for_a_network() -> None:
    """Segment and MongoDB stand below a buffer or behind Celery."""
    backends = {
        "inline": {"ENGINE": SEGMENT},
        "async": node(ASYNC_ROUTER, backends={"segment": {"ENGINE": SEGMENT}}),
    }
    found = translate(backends).config["backends"]
    segment = {"segment": {"plugin": "segment"}}
    assert found["inline"] == {"plugin": "buffer", "storage": "memory", "backends": segment}
    assert found["async"] == {"plugin": "async_celery", "backends": segment}


def test_routers_become_groups_and_async_celery() -> None:
    """A router becomes a plain group, an asynchronous one the plugin `async_celery`, at
    any depth.
    """
    inner = node(ASYNC_ROUTER, backend_name="inner", backends={"log": node(LOGGER)})
    translation = translate({"outer": node(ROUTER, backends={"inner": inner})})
    assert translation.config["backends"]["outer"] == {
        "backends": {
            "inner": {
                "plugin": "async_celery",
                "backends": {"log": {"plugin": "logger", "name": ""}},
            }
        }
    }


def test_a_router_with_nothing_below_is_left_out() -> None:
    """A router without backends delivered to no backend, and is left out with a note."""
    translation = translate(
        {"empty": {"ENGINE": ROUTER}, "nested": node(ROUTER, backends={"too": node(ROUTER)})}
    )
    assert translation.config == {"values": ["legacy"], "backends": {}}
    assert notes.NO_CHILDREN in texts(translation)


@pytest.mark.parametrize(
    "whitelist",
    [
        ["b", "a"],
        ("b", "a"),
        {"b", "a"},
        frozenset(["b", "a"]),
        {"b": 1, "a": 2}.keys(),
        deque("ba"),
    ],
)
def test_a_whitelist_in_any_collection(whitelist: Any) -> None:
    """A whitelist may be any collection, the keys of a dict included."""
    translation = translate({}, [node(WHITELIST, whitelist=whitelist)])
    (processor,) = translation.config["processors"]
    assert (processor["plugin"], sorted(processor["names"])) == ("name_filter", ["a", "b"])


@pytest.mark.parametrize("whitelist", ["text", b"bytes", iter(["a"]), None, 3])
def test_a_whitelist_that_is_no_collection(whitelist: Any) -> None:
    """Text is refused with a TypeError, and so is an iterator, which the first reading of the
    settings would use up.
    """
    message = r"OPTIONS\.whitelist: expected a collection of names"
    with pytest.raises(TypeError, match=message) as caught:
        translate({}, [node(WHITELIST, whitelist=whitelist)])
    assert isinstance(caught.value, ConfigError)


@pytest.mark.parametrize(
    ("level", "expected"),
    [("WARNING", "warning"), ("warn", "warning"), ("Fatal", "critical"), ("exception", "error")],
)
def test_every_level_that_a_logger_has_a_method_for(level: str, expected: str) -> None:
    """A level may be spelt in any case, and be an older name of one."""
    translation = translate({"log": node(LOGGER, name="x", level=level)})
    assert translation.config["backends"]["log"]["level"] == expected
    Tracker.from_config(translation.config).close()


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        ({"a": 1, "b": 2}, ["a", "b"]),
        ({"b", "a"}, ["a", "b"]),
        ({"a": 1}.keys(), ["a"]),
        ([re.compile("a"), re.compile("b.", re.IGNORECASE | re.DOTALL)], ["a", "(?is)b."]),
    ],
)
def test_patterns_in_any_collection(patterns: Any, expected: list[str]) -> None:
    """Patterns may be any collection, the keys of a dict included, and compiled already."""
    options = {"filter_type": "allowlist", "regular_expressions": patterns}
    translation = translate({}, [node(REGEX, **options)])
    assert translation.config["processors"][0]["regular_expressions"] == expected
    Tracker.from_config(translation.config).close()


def test_processors_in_a_tuple() -> None:
    """Processors may stand in a tuple; a dollar of a pattern stays a dollar."""
    translation = translate(
        {}, (node(REGEX, filter_type="blocklist", regular_expressions=("a$$", "${b}")),)
    )
    assert translation.config["processors"] == [
        {
            "plugin": "regex_filter",
            "filter_type": "blocklist",
            "regular_expressions": ["a$$", "${b}"],
        }
    ]


def test_a_filter_without_options() -> None:
    """Without options a filter by patterns lets nothing through, as before."""
    translation = translate({}, [{"ENGINE": REGEX}])
    assert translation.config["processors"] == [
        {"plugin": "regex_filter", "filter_type": "allowlist", "regular_expressions": []}
    ]


def test_other_classes_are_wrapped() -> None:
    """Any other class is wrapped; its options go to it untouched, and a note tells of
    processors that fail closed now.
    """
    translation = translate(
        {"own": node("site_code.Recorder", tag="t")}, [node("site_code.Prefixer", prefixes=("a",))]
    )
    backend = translation.config["backends"]["own"]
    assert (backend["plugin"], backend["engine"]) == ("legacy", "site_code.Recorder")
    options = translation.config["processors"][0]["options"]
    assert isinstance(options, Verbatim)
    assert options.value == {"prefixes": ("a",)}
    assert texts(translation) == {notes.FAIL_CLOSED}


def test_the_order_and_the_names() -> None:
    """Backends run in alphabetical order, as before; a slash in a name becomes an underscore."""
    translation = translate({"b": node(LOGGER), "a/x": node(LOGGER)})
    assert list(translation.config["backends"]) == ["a_x", "b"]
    assert notes.ORDER in texts(translation)


def test_two_names_that_would_become_one() -> None:
    """No backend is lost because of its name: the one that must change it takes another, and that
    is told.
    """
    backends = {
        name: node(LOGGER, name=str(name)) for name in ("a/b", "a_b", "a_b_", "", "_", 1, "1")
    }
    translation = translate(backends)
    found = {name: route["name"] for name, route in translation.config["backends"].items()}
    assert found == {
        "__": "",
        "1_": "1",
        "1": "1",
        "_": "_",
        "a_b__": "a/b",
        "a_b": "a_b",
        "a_b_": "a_b_",
    }
    renamed = [note.place for note in translation.notes if note.text == notes.RENAMED]
    assert renamed == [f"EVENT_TRACKING_BACKENDS.{name}" for name in ("", "1", "a/b")]
    Tracker.from_config(translation.config).close()


def test_no_problem_shows_what_settings_hold() -> None:
    """Where the form is wrong, the problem names the type and the keys that were found, and never
    a value.
    """
    backends = {
        "mistyped": {"ENGIN": MONGO, "OPTIONS": {"password": "secret"}},
        "options": {"ENGINE": MONGO, "OPTIONS": ["secret"]},
        "backends": node(ROUTER, backends=["secret"]),
        "processors": node(ROUTER, processors={"ENGINE": "secret"}),
    }
    with pytest.raises(ConfigError) as caught:
        translate(backends, {1: "secret"})
    assert [
        (problem.path.partition(".")[2], problem.found) for problem in caught.value.problems
    ] == [
        ("", "a dict with a key of type int"),
        ("backends.OPTIONS.backends", "a value of type list"),
        ("mistyped", "a dict with 'ENGIN', 'OPTIONS'"),
        ("options.OPTIONS", "a value of type list"),
        ("processors.OPTIONS.processors", "a dict with 'ENGINE'"),
    ]
    assert "secret" not in str(caught.value)


def test_unknown_options_are_left_out_and_noted() -> None:
    """An option that event-tracking swallowed is left out, with a note at its place."""
    translation = translate({"log": node(LOGGER, name="x", colour="red", max_event_size=1)})
    assert [note.place for note in translation.notes] == [
        "EVENT_TRACKING_BACKENDS.log.OPTIONS.colour"
    ]


def test_the_settings_are_not_changed() -> None:
    """Reading the settings leaves them as they are."""
    backends = {
        "r": node(
            ROUTER,
            backends={"log": node(LOGGER, name="x")},
            processors=[node(WHITELIST, whitelist=["a"])],
        )
    }
    before = repr(backends)
    translate(backends)
    assert repr(backends) == before


def test_every_problem_at_once_with_its_place() -> None:
    """Unreadable settings are reported whole, each problem at its place in the settings."""
    backends = {
        "a": "text",
        "b": {"OPTIONS": {}},
        "c": node(ROUTER, backends={"d": {"ENGINE": LOGGER, "OPTIONS": 3}}, processors="x"),
    }
    with pytest.raises(ConfigError) as caught:
        translate(backends, {"ENGINE": REGEX})
    assert [problem.path for problem in caught.value.problems] == [
        "EVENT_TRACKING_PROCESSORS",
        "EVENT_TRACKING_BACKENDS.a",
        "EVENT_TRACKING_BACKENDS.b",
        "EVENT_TRACKING_BACKENDS.c.OPTIONS.processors",
        "EVENT_TRACKING_BACKENDS.c.OPTIONS.backends.d.OPTIONS",
    ]


def test_problems_of_the_config_are_told_at_their_place_in_the_settings() -> None:
    """A wrong option, and a class that is not there, are reported where the settings have them."""
    backends = {
        "r": node(
            ROUTER,
            backends={
                "own": node("site_code.Missing"),
                "log": node(LOGGER, name="x", max_event_size="big"),
            },
            processors=[node(WHITELIST, whitelist=["a"]), node("site_code.Prefixer", colour="red")],
        )
    }
    translation = translate(backends)
    with pytest.raises(ConfigError) as caught:
        Tracker.from_config(translation.config)
    problems = translation.in_settings(caught.value).problems
    router = "EVENT_TRACKING_BACKENDS.r.OPTIONS"
    assert {problem.path: problem.message for problem in problems} == {
        f"{router}.processors[1].OPTIONS": (
            "Prefixer does not take them: got an unexpected keyword argument 'colour'"
        ),
        f"{router}.backends.log.OPTIONS.max_event_size": (
            "expected an integer, at least 1 or nothing"
        ),
        f"{router}.backends.own.ENGINE": "site_code has no Missing",
    }
