"""The predecessor's module names, which site code imports from."""

from __future__ import annotations

import logging
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from eventtracking_legacy.exceptions import EventEmissionExit, ImproperlyConfigured
from eventtracking_legacy.filters import NameWhitelistProcessor, RegexFilter
from eventtracking_legacy.objects import (
    AsyncRoutingBackend,
    LoggerBackend,
    RoutingBackend,
)

SRC = Path(__file__).parent.parent / "src" / "eventtracking"

NAMES = {
    "eventtracking.backends.async_routing": ["AsyncRoutingBackend", "RoutingBackend"],
    "eventtracking.backends.event_bus": [
        "DateTimeJSONEncoder",
        "EventBusRoutingBackend",
        "RoutingBackend",
        "SEND_TRACKING_EVENT_EMITTED_SIGNAL",
    ],
    "eventtracking.backends.logger": ["DateTimeJSONEncoder", "LoggerBackend", "MAX_EVENT_SIZE"],
    "eventtracking.backends.mongodb": ["MongoBackend"],
    "eventtracking.backends.routing": [
        "EventEmissionExit",
        "NoBackendEnabled",
        "NoTransformerImplemented",
        "RoutingBackend",
    ],
    "eventtracking.backends.segment": ["SegmentBackend"],
    "eventtracking.django": ["DjangoTracker"],
    "eventtracking.django.apps": ["EventTrackingConfig"],
    "eventtracking.django.django_tracker": [
        "DJANGO_BACKEND_SETTING_NAME",
        "DJANGO_ENABLED_SETTING_NAME",
        "DJANGO_PROCESSOR_SETTING_NAME",
        "DjangoTracker",
        "override_default_tracker",
    ],
    "eventtracking.exceptions": ["ImproperlyConfigured"],
    "eventtracking.processors.exceptions": [
        "EventEmissionExit",
        "NoBackendEnabled",
        "NoTransformerImplemented",
    ],
    "eventtracking.processors.regex_filter": [
        "ALLOWLIST",
        "BLOCKLIST",
        "EventEmissionExit",
        "ImproperlyConfigured",
        "RegexFilter",
    ],
    "eventtracking.processors.whitelist": ["EventEmissionExit", "NameWhitelistProcessor"],
    "eventtracking.tasks": ["send_event"],
}


@pytest.mark.parametrize("module", NAMES)
def test_what_sites_import(module: str) -> None:
    """Each name can be imported from where it was."""
    found = import_module(module)
    assert [name for name in NAMES[module] if not hasattr(found, name)] == []


@pytest.mark.skipif(sys.version_info < (3, 11), reason="openedx-events needs Python 3.11")
def test_the_signal_of_the_event_bus(monkeypatch: pytest.MonkeyPatch) -> None:
    """The signal and its data are those of openedx-events; without it, the error names the
    extra.
    """
    module: Any = import_module("eventtracking.backends.event_bus")
    with pytest.raises(AttributeError):
        _ = module.no_such_name
    data: Any = pytest.importorskip("openedx_events.analytics.data")
    assert module.TrackingLogData is data.TrackingLogData
    monkeypatch.setitem(sys.modules, "openedx_events.analytics.signals", None)
    with pytest.raises(ImportError, match=r"pip install 'eventtracking-legacy\[event_bus\]'"):
        _ = module.TRACKING_EVENT_EMITTED


@pytest.mark.process
def test_the_tracker_by_the_name_of_the_django_package() -> None:
    """The package gives the tracker, in a module of a site that is imported first,
    and no other name.
    """
    code = (
        "from eventtracking.django import DjangoTracker; import eventtracking.django as package; "
        "from eventtracking.django.django_tracker import DjangoTracker as known; "
        "print(DjangoTracker is known, hasattr(package, 'other'))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], check=False, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("True False\n", "")


@pytest.mark.skipif(not SRC.exists(), reason="installed without the sources")
def test_core_keeps_its_package() -> None:
    """Our folder of the package has no __init__.py, so that core's is the only one."""
    assert not (SRC / "__init__.py").exists()
    assert hasattr(import_module("eventtracking"), "Tracker")
    assert {path.stem for path in SRC.glob("*.py")} == {"exceptions", "former", "tasks"}


class Recorder:
    """A backend of a site's."""

    def __init__(self, error: Exception | None = None) -> None:
        self.events: list[Any] = []
        self.error = error

    def send(self, event: Any) -> None:
        if self.error is not None:
            raise self.error
        self.events.append(event)


class CountingRouter(RoutingBackend):
    """A router of a site's that builds on the predecessor's."""

    sent = 0

    def send(self, event: Any) -> None:
        self.sent += 1
        super().send(event)


def test_a_router_that_a_site_subclasses() -> None:
    """A subclass of the router processes a copy, filters, and isolates its backends."""
    first, second = Recorder(), Recorder()

    def rename(event: Any) -> None:
        event["name"] = "renamed"

    router = CountingRouter(
        {"b": second, "a": first}, [NameWhitelistProcessor(whitelist={"x"}), rename]
    )
    event = {"name": "x", "data": {}}
    router.send(event)
    router.send({"name": "y", "data": {}})
    assert (router.sent, event["name"]) == (2, "x")
    assert first.events == second.events == [{"name": "renamed", "data": {}}]
    assert first.events[0] is not second.events[0]


def test_a_failing_backend_of_a_router_does_not_hurt_its_siblings() -> None:
    """The siblings have the event, and then the error is raised, so that it is counted."""
    working = Recorder()
    router = AsyncRoutingBackend(
        backends={"a": Recorder(OSError("down")), "b": working}, backend_name="n"
    )
    with pytest.raises(OSError, match="down"):
        router.send({"name": "x"})
    assert working.events == [{"name": "x"}]


def test_a_router_refuses_what_cannot_work() -> None:
    """A backend needs `send`, a processor must be callable."""
    router = RoutingBackend()
    with pytest.raises(ValueError, match="has no method `send`"):
        router.register_backend("a", object())
    with pytest.raises(ValueError, match="cannot be called"):
        router.register_processor(3)  # type: ignore[arg-type]  # on purpose


def test_filters_as_objects() -> None:
    """The filters work on dicts, raise the exit exception, and refuse wrong options with the known
    exception.
    """
    event = {"name": "course.x"}
    assert RegexFilter("allowlist", [r"course\."])(event) is event
    with pytest.raises(EventEmissionExit):
        RegexFilter("blocklist", ["course"])(event)
    with pytest.raises(EventEmissionExit):
        RegexFilter()(event)
    with pytest.raises(ImproperlyConfigured, match="regular_expressions"):
        RegexFilter("allowlist", ["("])


def test_subclasses_read_the_attributes_that_they_know() -> None:
    """A site's subclasses find the attributes that the predecessor's classes had; without a limit,
    every size is below it.
    """

    class Names(NameWhitelistProcessor):
        def __call__(self, event: Any) -> Any:
            return {**super().__call__(event), "known": sorted(self.whitelist)}

    class Kind(RegexFilter):
        def __call__(self, event: Any) -> Any:
            return {
                **super().__call__(event),
                "kind": self.filter_type,
                "patterns": len(self.compiled_expressions),
            }

    class Sized(LoggerBackend):
        def fits(self, text: str) -> bool:
            return len(text) <= self.max_event_size

    assert Names(whitelist=("b", "a"))({"name": "a"}) == {"name": "a", "known": ["a", "b"]}
    assert Kind("blocklist", ["x"])({"name": "a"}) == {
        "name": "a",
        "kind": "blocklist",
        "patterns": 1,
    }
    assert (Sized(name="site", max_event_size=3).fits("long"), Sized(name="site").fits("long")) == (
        False,
        True,
    )
    assert Sized(name="site", level="debug").log == logging.getLogger("site").debug


def test_a_backend_that_rejects_does_not_hurt_its_siblings(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An event that one child of a router can never take is logged without its data; the
    siblings get it once.
    """
    sibling = Recorder()
    router = RoutingBackend({"log": LoggerBackend(name="site", max_event_size=60), "own": sibling})
    with caplog.at_level("INFO", "site"), caplog.at_level("WARNING", "eventtracking.legacy"):
        router.send({"name": "x", "data": {"secret": "y" * 60}})
    assert [(record.name, record.getMessage()) for record in caplog.records] == [
        ("eventtracking.legacy", "LoggerBackend dropped an event: longer than max_event_bytes=60")
    ]
    assert len(sibling.events) == 1


def test_the_logger_as_an_object(caplog: pytest.LogCaptureFixture) -> None:
    """The logger takes a dict and writes it as one line."""
    with caplog.at_level("INFO", "site"):
        LoggerBackend(name="site").send({"name": "x", "data": {"k": 1}, "context": {}})
    (line,) = [record.getMessage() for record in caplog.records if record.name == "site"]
    assert '"data":{"k":1}' in line
