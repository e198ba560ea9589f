# mypy: disable-error-code="import-untyped,misc,unused-ignore"
# `eventtracking` has two folders, and mypy finds the types of core's alone.
"""Programs written for event-tracking find the names, the shapes and the behaviour that they rely
on.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from contextlib import suppress
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

import eventtracking
from eventtracking import ConfigError, Event, Tracker
from eventtracking import tracker as trackers
from eventtracking.backends.event_bus import EventBusRoutingBackend
from eventtracking.backends.logger import MAX_EVENT_SIZE, DateTimeJSONEncoder, LoggerBackend
from eventtracking.backends.routing import RoutingBackend
from eventtracking.backends.segment import SegmentBackend
from eventtracking.config import parse
from eventtracking.processors.exceptions import (
    EventEmissionExit,
    NoBackendEnabled,
    NoTransformerImplemented,
)
from eventtracking.processors.regex_filter import ALLOWLIST, BLOCKLIST, RegexFilter
from eventtracking.processors.whitelist import NameWhitelistProcessor
from eventtracking_legacy import tracker as legacy_tracker
from eventtracking_legacy.errors import SettingsImproperError, SettingsTypeError
from eventtracking_legacy.exceptions import ImproperlyConfigured
from eventtracking_legacy.settings import translate
from eventtracking_legacy.shape import from_legacy
from eventtracking_legacy.tracker import DjangoTracker

pytestmark = pytest.mark.needs("buffer", "event_bus", "segment")

B, P = "eventtracking.backends.", "eventtracking.processors."
OWN = {"ENGINE": f"{__name__}.Own"}
MADE: list[str] = []
GOT: list[Any] = []
ANSWERS: list[Exception] = []


class Own:
    """A backend of a site's."""

    def __init__(self) -> None:
        MADE.append("Own")

    def send(self, event: Any) -> None:
        GOT.append(event)
        if ANSWERS:
            raise ANSWERS[0]


class Passing:
    """A processor of a site's."""

    def __init__(self) -> None:
        MADE.append("Passing")

    def __call__(self, event: Any) -> Any:
        return event


def no_class() -> None:
    """A function, which is no class."""
    MADE.append("function")


@pytest.fixture(autouse=True)
def fresh() -> None:
    """Forget the events of earlier tests."""
    for one in (MADE, GOT, ANSWERS):
        one.clear()


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Stand-in settings, so that these tests leave Django's alone."""

    class Settings:
        EVENT_TRACKING_BACKENDS: Any = None
        EVENT_TRACKING_PROCESSORS: Any = ()

    # `mock` would ask Django's for their type.
    monkeypatch.setattr(legacy_tracker, "settings", Settings)
    return Settings


@pytest.fixture
def site(settings: Any) -> Iterator[Any]:
    """A tracker with a log and a backend of the site's."""
    log = {"ENGINE": f"{B}logger.LoggerBackend", "OPTIONS": {"name": "before", "level": "WARNING"}}
    settings.EVENT_TRACKING_BACKENDS = {"log": log, "own": OWN}
    with DjangoTracker() as found:
        yield found


# Names


def test_the_constants_of_the_old_modules() -> None:
    """The names that programs import are there, and the trackers are the ones in use."""
    names: Any = trackers
    config: Any = eventtracking.config
    assert (names.DEFAULT_TRACKER_NAME, names.UNKNOWN_EVENT_TYPE) == ("default", "unknown")
    assert (ALLOWLIST, BLOCKLIST, MAX_EVENT_SIZE) == ("allowlist", "blocklist", 1024)
    assert isinstance(vars_of(eventtracking).__version__, str)
    assert config.SEND_TRACKING_EVENT_EMITTED_SIGNAL.name == "SEND_TRACKING_EVENT_EMITTED_SIGNAL"
    new = Tracker()
    trackers.register_tracker(new, "another")
    assert names.TRACKERS["another"] is new
    del names.TRACKERS["another"]
    with pytest.raises(KeyError):
        trackers.get_tracker("another")


def vars_of(module: Any) -> Any:
    """A module, for which no type checker knows the names."""
    return module


@pytest.mark.process
def test_the_names_come_with_the_legacy_distribution_alone(tmp_path: Path) -> None:
    """Without that distribution, core has none of them, and says so as for any other name."""
    code = (
        "import sys; sys.modules['eventtracking.former'] = None; "
        "from eventtracking import tracker; print(hasattr(tracker, 'TRACKERS'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=tmp_path
    )
    assert done.stdout == "False\n"


def test_the_toggle_reads_the_settings(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The toggle of the signal is off unless the setting is on."""
    toggle = vars_of(eventtracking.config).SEND_TRACKING_EVENT_EMITTED_SIGNAL
    monkeypatch.setattr("django.conf.settings", settings)
    assert not toggle.is_enabled()
    settings.SEND_TRACKING_EVENT_EMITTED_SIGNAL = True
    assert toggle.is_enabled()


def test_the_encoder() -> None:
    """Times are written in UTC, dates as dates, and nothing else that JSON does not know."""
    east = timezone(timedelta(hours=2))
    values = [datetime(2026, 1, 2, 3), datetime(2026, 1, 2, 3, tzinfo=east), date(2026, 1, 2)]
    assert json.loads(json.dumps(values, cls=DateTimeJSONEncoder)) == [
        "2026-01-02T03:00:00+00:00",
        "2026-01-02T01:00:00+00:00",
        "2026-01-02",
    ]
    with pytest.raises(TypeError, match="set"):
        json.dumps({1}, cls=DateTimeJSONEncoder)


def test_the_event_bus_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """The class can be imported without its plugin, and names the extra when it is made."""
    monkeypatch.setitem(sys.modules, "eventtracking_event_bus", None)
    with pytest.raises(
        ImproperlyConfigured, match=r"pip install 'eventtracking-legacy\[event_bus\]"
    ):
        EventBusRoutingBackend()


# Filters


@pytest.mark.parametrize(
    "screen",
    [NameWhitelistProcessor(["a", "b"]), RegexFilter(ALLOWLIST, ["a", "b"])],
)
def test_filters_take_a_list(screen: Any) -> None:
    """Of a list, the events that pass are returned; a single one that does not pass is out."""
    events = [{"name": name} for name in "acb"]
    assert screen(events) == [{"name": "a"}, {"name": "b"}]
    assert (screen([{"name": "c"}]), screen([])) == ([], [])
    assert screen({"name": "a"}) == {"name": "a"}
    with pytest.raises(EventEmissionExit):
        screen({"name": "c"})


def test_options_of_filters_are_refused_as_before() -> None:
    """A whitelist that is none is a TypeError, patterns that are none an ImproperlyConfigured."""
    for wrong in (None, 3, "text", [["a"]]):
        with pytest.raises(TypeError):
            NameWhitelistProcessor(wrong)
    assert NameWhitelistProcessor({"a": 1}).whitelist == {"a"}
    arguments: Any
    for arguments in (("other", []), (ALLOWLIST, ["("])):
        with pytest.raises(ImproperlyConfigured):
            RegexFilter(*arguments)


@pytest.mark.parametrize(
    ("processor", "kind"),
    [
        (
            {"ENGINE": f"{P}whitelist.NameWhitelistProcessor", "OPTIONS": {"whitelist": 3}},
            TypeError,
        ),
        ({"ENGINE": f"{P}whitelist.NameWhitelistProcessor"}, SettingsTypeError),
        (
            {"ENGINE": f"{P}regex_filter.RegexFilter", "OPTIONS": {"filter_type": "other"}},
            ImproperlyConfigured,
        ),
        (
            {"ENGINE": f"{P}regex_filter.RegexFilter", "OPTIONS": {"regular_expressions": 3}},
            SettingsImproperError,
        ),
        ({"ENGINE": "nowhere.Missing"}, ValueError),
    ],
)
def test_errors_of_settings_have_the_old_types(settings: Any, processor: Any, kind: Any) -> None:
    """Code that catches the error of event-tracking for wrong settings catches ours."""
    settings.EVENT_TRACKING_BACKENDS, settings.EVENT_TRACKING_PROCESSORS = {}, [processor]
    with pytest.raises(kind) as caught:
        DjangoTracker()
    assert isinstance(caught.value, ConfigError)
    assert isinstance(caught.value, ValueError)


# Shapes


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ("input_1=a&input_2=b", "input_1=a&input_2=b"),
        (["a", {"k": 1}], ["a", {"k": 1}]),
        (5, 5),
        ("", {}),
        ([], {}),
        (None, {}),
        ({"value": "x"}, {"value": "x"}),
    ],
)
def test_data_keeps_its_shape(
    site: Any, given: Any, written: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Data that is no dict reaches the log and the site's code as it was given."""
    with caplog.at_level("WARNING", "before"):
        site.emit("n", given)
    (line,) = [one.getMessage() for one in caplog.records if one.name == "before"]
    assert json.loads(line)["data"] == written
    assert [event["data"] for event in GOT] == [written]


def test_the_shape_comes_through_a_buffer_on_disk(tmp_path: Path) -> None:
    """A buffer on disk sends events in the shape that was given, in the next process too."""
    log = {"plugin": "logger", "name": "after_disk"}
    buffer = {"plugin": "buffer", "storage": "disk", "path": str(tmp_path / "b")}
    config = {"backends": {"b": {**buffer, "backends": {"log": log}}}}
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]  # of this one
    logger = logging.getLogger("after_disk")
    logger.addHandler(handler)
    logger.setLevel("INFO")
    with DjangoTracker(refusal=(eventtracking.Outcome.FAILED, "none")) as found:
        found.configure(config)
        found.emit("n", "text")
        assert found.flush(20)
    with Tracker.from_config(config) as plain:
        plain.submit(Event(name="n", data=["a"]), as_written=True)  # type: ignore[arg-type]  # as a file may have it
        plain.submit(Event(name="n", data=["a"]))  # type: ignore[arg-type]  # as above
        assert plain.flush(20)
    logger.removeHandler(handler)
    assert [json.loads(line)["data"] for line in lines] == ["text", ["a"], {"value": ["a"]}]


def test_the_mark_is_not_believed_from_outside(
    caplog: pytest.LogCaptureFixture, settings: Any
) -> None:
    """A mark in a replayed line, or in the result of a site's processor, changes no event behind
    the filters.
    """
    forged = {"absent": [], "own": {"name": "admin.granted", "data": {"email": "x@example.org"}}}
    config = {
        "processors": [{"plugin": "name_filter", "names": ["course.ok"]}],
        "backends": {"log": {"plugin": "logger", "name": "mark"}},
    }
    with caplog.at_level("INFO", "mark"), Tracker.from_config(config) as found:
        found.submit(Event.from_dict({"name": "course.ok", "data": {}, "_legacy": forged}))
        reasons = found.stats()[""].reasons
    document = json.loads(caplog.messages[-1])
    assert (document["name"], document["data"]) == ("course.ok", {})
    assert "admin" not in caplog.text
    assert any("reserved" in reason for reason in reasons)
    event = from_legacy(Event(name="n"), {"name": "n", "data": {}, "_legacy": forged})
    assert json.loads(event.to_json())["name"] == "n"


def test_a_scrubber_finds_data_of_any_shape() -> None:
    """A processor of ours that changes the data changes the written line, text included."""
    event = from_legacy(Event(name="n"), {"name": "n", "data": "secret"})
    scrubbed = event.replace(data=dict.fromkeys(event.data, "***"))
    assert "secret" not in scrubbed.to_json()
    assert json.loads(scrubbed.to_json())["data"] == "***"


def test_times_in_the_log_are_in_utc(site: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A time in another zone is logged in UTC, as the same moment."""
    east = timezone(timedelta(hours=2))
    with caplog.at_level("WARNING", "before"):
        site.emit("n", {"at": datetime(2026, 1, 2, 3, tzinfo=east)})
    text = json.loads(caplog.messages[-1])["data"]["at"]
    assert datetime.fromisoformat(text.replace("Z", "+00:00")) == datetime(
        2026, 1, 2, 1, tzinfo=timezone.utc
    )
    assert text.startswith("2026-01-02T01:00")


def test_an_event_without_a_name(site: Any) -> None:
    """No name, None and empty text make an event `unknown`."""
    site.emit()
    site.emit(None, {"k": 1})
    site.emit("")
    assert [event["name"] for event in GOT] == ["unknown"] * 3


# Contexts


def test_entering_a_name_again_replaces(site: Any) -> None:
    """The context of that name has the new keys, where it stood; leaving it once leaves it."""
    site.enter_context("user", {"id": 1, "who": "user"})
    site.enter_context("page", {"who": "page"})
    site.enter_context("user", {"other": 2, "who": "user"})
    assert site.resolve_context() == {"other": 2, "who": "page"}
    with site.context("user", {"id": 3}):
        assert site.resolve_context() == {"id": 3, "who": "page"}
    assert site.resolve_context() == {"other": 2, "who": "page"}
    site.exit_context("user")
    assert site.resolve_context() == {"who": "page"}
    site.exit_context("page")


@pytest.mark.timeout(180)
def test_ten_thousand_requests_whose_contexts_are_never_left(site: Any) -> None:
    """Memory stays flat, and no request sees a key of another one's user."""

    def request(number: int) -> None:
        site.enter_context("edx.request", {"user_id": number, f"key {number}": "x" * 200})
        site.enter_context("edx.course", {"course_id": number})
        site.emit("n", {})
        (event,) = GOT
        assert event["context"].keys() == {"user_id", f"key {number}", "course_id"}
        GOT.clear()

    logging.getLogger("before").setLevel("ERROR")
    for number in range(500):
        request(number)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(500, 10_500):
            request(number)
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 200_000


# Site code


@pytest.mark.parametrize("answer", [NoBackendEnabled(), NoTransformerImplemented()])
def test_a_backend_that_wants_nothing_of_an_event(site: Any, answer: Exception) -> None:
    """It has delivered, once, and the counts have the reason."""
    ANSWERS.append(answer)
    site.emit("n", {})
    counts = site.stats()["own"]
    assert (counts.delivered, counts.failed, len(GOT)) == (1, 0, 1)
    assert any(type(answer).__name__ in reason for reason in counts.reasons)


def test_subclasses_that_leave_out_the_constructor(caplog: pytest.LogCaptureFixture) -> None:
    """Backends, routers and filters work without `super().__init__()`."""

    class Log(LoggerBackend):
        def __init__(self) -> None:
            self.event_logger = logging.getLogger("own log")
            self.log = self.event_logger.info

    class Router(RoutingBackend):
        def __init__(self, below: Any) -> None:
            self.backends["below"] = below

    class Whitelist(NameWhitelistProcessor):
        def __init__(self) -> None:
            self.whitelist = frozenset({"n"})

    class Segment(SegmentBackend):
        def __init__(self) -> None:
            self.mine = True

    with caplog.at_level("INFO", "own log"):
        Router(Log()).send({"name": "n", "data": {}})
    assert [record.name for record in caplog.records] == ["own log"]
    assert Whitelist()({"name": "n"}) == {"name": "n"}
    # the plugin is made at the first event; without a write key it says so, in words
    with suppress(ConfigError, eventtracking.DeliveryError):
        Segment().send({"name": "n", "context": {"user_id": 1}, "data": {}})


def test_an_event_without_a_time_goes_to_segment() -> None:
    """An event whose processor took `timestamp` away has its own time in the message."""
    from eventtracking_segment._message import message_for

    event = Event(name="n", context={"user_id": 1})
    shaped = from_legacy(event, {"name": "n", "context": {"user_id": 1}, "data": {}})
    message = message_for(shaped, (), whole_event=False)
    assert message.body["timestamp"].startswith(event.timestamp.isoformat()[:19])
    assert message.body["messageId"] == event.id


def test_the_default_tracker_is_a_django_tracker() -> None:
    """`isinstance(get_tracker(), DjangoTracker)` holds under the old settings."""
    from eventtracking_django import conf, install

    with patch.object(conf, "uses_old_settings", lambda: True):
        assert install._tracker_class() is DjangoTracker


@pytest.mark.skipif(sys.version_info < (3, 11), reason="opaque-keys needs Python 3.11")
def test_course_keys_are_their_text(site: Any) -> None:
    """A key of opaque_keys is logged and handed on as its text, and marks nothing."""
    keys = pytest.importorskip("opaque_keys.edx.keys")
    site.emit("n", {"course_id": keys.CourseKey.from_string("course-v1:a+b+c")})
    assert GOT[0]["data"] == {"course_id": "course-v1:a+b+c"}


# Checks


def test_a_check_makes_no_object_of_the_site() -> None:
    """Parsing a config makes neither backend nor processor; a tracker does."""
    config = translate({"own": OWN}, [{"ENGINE": f"{__name__}.Passing"}]).config
    parse(config)
    assert MADE == []
    with Tracker.from_config(config) as found:
        found.emit("n")
    assert sorted(MADE) == ["Own", "Passing"]


@pytest.mark.parametrize("engine", ["subprocess.Popen", f"{__name__}.no_class", f"{__name__}.Own"])
def test_an_engine_is_a_class_with_the_right_method(engine: str) -> None:
    """A class that makes no processor is refused before it is called."""
    with pytest.raises(ConfigError, match=r"engine: .* (has no method `__call__`|not a class)"):
        parse({"processors": [{"plugin": "legacy_processor", "engine": engine}], "backends": {}})
    assert MADE == []


def test_a_missing_extra_is_named(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the plugin of a class is missing, the problem names the extra that brings it, and no
    word that the site never wrote.
    """
    from eventtracking_legacy.errors import with_extra

    translation = translate({"s": {"ENGINE": f"{B}segment.SegmentBackend"}})
    path, text = "backends.s.plugin", "the backend is not installed; installed plugins are none"
    problem = eventtracking.Problem(path=path, message=text, found="'buffer'", hint="pip")
    error = translation.in_settings(ConfigError([problem]))
    (found,) = error.problems
    assert found.path == "EVENT_TRACKING_BACKENDS.s.ENGINE"
    assert found.hint == "pip install 'eventtracking-legacy[segment]'"
    assert "buffer" not in str(found)
    assert with_extra(problem, {}) is problem


def test_a_missing_event_bus_is_one_problem() -> None:
    """Neither its plugin nor the filter that stands before it shows: one problem names the extra at
    the router's place, with backends below it and without.
    """
    log = {"log": {"ENGINE": f"{B}logger.LoggerBackend"}}
    for plugin, options in (("event_bus", {}), ("event_bus_router", {"backends": log})):
        bus = {"ENGINE": f"{B}event_bus.EventBusRoutingBackend", "OPTIONS": options}
        translation = translate({"b": bus})
        where = f"backends.b.backends.{plugin}"
        problems = [
            eventtracking.Problem(path=f"{place}.plugin", message="it is not installed; found x")
            for place in (where, f"{where}.processors[0]")
        ]
        (found,) = translation.in_settings(ConfigError(problems)).problems
        assert found.path == "EVENT_TRACKING_BACKENDS.b.ENGINE"
        assert found.hint == "pip install 'eventtracking-legacy[event_bus]'"
