"""The trackers of a site whose settings are those of event-tracking."""

from __future__ import annotations

import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery
from celery.contrib.testing.worker import start_worker
from freezegun import freeze_time

from eventtracking import ConfigError, Tracker, tracker
from eventtracking_legacy import tracker as trackers
from eventtracking_legacy.exceptions import EventEmissionExit
from eventtracking_legacy.filters import RegexFilter
from eventtracking_legacy.objects import (
    AsyncRoutingBackend,
    LoggerBackend,
    MongoBackend,
    RoutingBackend,
    SegmentBackend,
)
from eventtracking_legacy.queue import celery_queue

pytestmark = pytest.mark.needs("async_celery")

LOGGER = "eventtracking.backends.logger.LoggerBackend"
MONGO = "eventtracking.backends.mongodb.MongoBackend"
REGEX = "eventtracking.processors.regex_filter.RegexFilter"
ROUTER = "eventtracking.backends.routing.RoutingBackend"
SEGMENT = "eventtracking.backends.segment.SegmentBackend"
ASYNC_ROUTER = "eventtracking.backends.async_routing.AsyncRoutingBackend"
WHITELIST = "eventtracking.processors.whitelist.NameWhitelistProcessor"
MEMORY = {"mem": {"ENGINE": "site_code.InMemoryBackend"}}
ENTRIES = (
    "eventtracking.django",
    "eventtracking.django.apps.EventTrackingConfig",
    "eventtracking_django",
)


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Stand-in settings, so that these tests leave Django's alone."""

    class Settings:
        EVENT_TRACKING_BACKENDS: Any = MEMORY
        EVENT_TRACKING_PROCESSORS: Any = ()

    # `mock` would ask Django's for their type.
    monkeypatch.setattr(trackers, "settings", Settings)
    return Settings


@pytest.mark.usefixtures("recorded")
def test_a_suite_rebuilds_its_tracker_with_frozen_time(settings: Any) -> None:
    """A test suite makes the tracker anew for each test, freezes the time, and reads the in-memory
    backend.
    """
    for day in (1, 2):
        with freeze_time(f"2020-01-0{day}"):
            tracker.register_tracker(trackers.DjangoTracker())
            tracker.emit("course.viewed", {"when": datetime.now(timezone.utc)})
        own: Any = tracker.get_tracker()
        (event,) = own.backends["mem"].events
        expected = datetime(2020, 1, day, tzinfo=timezone.utc)
        assert (event["name"], event["timestamp"], event["data"]) == (
            "course.viewed",
            expected,
            {"when": expected},
        )


def test_the_tree_can_be_looked_at(settings: Any) -> None:
    """`backends` and `processors` hold the site's own objects, at any depth, as before."""
    import site_code

    inner = {
        "ENGINE": ROUTER,
        "OPTIONS": {"backends": MEMORY, "processors": [{"ENGINE": "site_code.Prefixer"}]},
    }
    settings.EVENT_TRACKING_BACKENDS = {
        "outer": {
            "ENGINE": ASYNC_ROUTER,
            "OPTIONS": {"backend_name": "outer", "backends": {"inner": inner}},
        }
    }
    settings.EVENT_TRACKING_PROCESSORS = [
        {"ENGINE": "site_code.Scrubber"},
        {"ENGINE": WHITELIST, "OPTIONS": {"whitelist": []}},
    ]
    own: Any = trackers.DjangoTracker()
    with own:
        view = own.get_backend("outer").backends["inner"]
        assert isinstance(view.backends["mem"], site_code.InMemoryBackend)
        assert isinstance(view.processors[0], site_code.Prefixer)
        assert [type(processor).__name__ for processor in own.processors] == [
            "Scrubber",
            "NameWhitelistProcessor",
        ]


def test_site_code_finds_the_classes_that_it_knows(settings: Any) -> None:
    """Routers, filters and backends of the tree are objects of the predecessor's classes, with
    their attributes.
    """
    log = {"ENGINE": LOGGER, "OPTIONS": {"name": "site.log", "max_event_size": 500}}
    filters = [
        {"ENGINE": WHITELIST, "OPTIONS": {"whitelist": ["course.viewed"]}},
        {
            "ENGINE": REGEX,
            "OPTIONS": {"filter_type": "blocklist", "regular_expressions": ["debug"]},
        },
    ]
    options = {"backends": {"log": log, "store": {"ENGINE": MONGO}}, "processors": filters}
    later = {"ENGINE": ASYNC_ROUTER, "OPTIONS": {"backends": {"segment": {"ENGINE": SEGMENT}}}}
    settings.EVENT_TRACKING_BACKENDS = {
        "now": {"ENGINE": ROUTER, "OPTIONS": options},
        "later": later,
    }
    own: Any = trackers.DjangoTracker()
    with own:
        now, asynchronous = own.backends["now"], own.get_backend("later")
        assert isinstance(now, RoutingBackend)
        assert isinstance(own.routing_backend, RoutingBackend)
        assert [
            processor.whitelist for processor in now.processors if hasattr(processor, "whitelist")
        ] == [{"course.viewed"}]
        pattern = now.processors[1]
        assert isinstance(pattern, RegexFilter)
        assert (pattern.filter_type, sorted(pattern.regular_expressions)) == (
            "blocklist",
            ["debug"],
        )
        assert isinstance(now.backends["log"], LoggerBackend)
        assert (now.backends["log"].event_logger.name, now.backends["log"].max_event_size) == (
            "site.log",
            500,
        )
        assert isinstance(now.backends["store"], MongoBackend)
        with pytest.raises(AttributeError, match="put an object of your own in its place"):
            now.backends["log"].max_event_size = 10
        with pytest.raises(AttributeError, match=r"RegexFilter\.filter_type: cannot be set"):
            pattern.filter_type = "allowlist"
        assert isinstance(asynchronous, AsyncRoutingBackend)
        assert (asynchronous.backend_name, [*asynchronous.backends]) == ("later", ["segment"])
        assert isinstance(asynchronous.backends["segment"], SegmentBackend)


def test_what_is_sent_to_a_router_of_the_tree_is_counted(
    settings: Any, recorded: dict[str, list[Any]]
) -> None:
    """`send` of a router, or of a backend below it, goes down the tracker's route; its processors
    can be tried by themselves.
    """
    below = {
        "own": {"ENGINE": "site_code.Recorder"},
        "log": {"ENGINE": LOGGER, "OPTIONS": {"name": "site.log"}},
    }
    chain = [
        {"ENGINE": WHITELIST, "OPTIONS": {"whitelist": ["course.viewed"]}},
        {"ENGINE": "site_code.Prefixer"},
    ]
    settings.EVENT_TRACKING_BACKENDS = {
        "r": {"ENGINE": ROUTER, "OPTIONS": {"backends": below, "processors": chain}}
    }
    event = {
        "name": "course.viewed",
        "timestamp": datetime.now(timezone.utc),
        "data": {"k": 1},
        "context": {},
    }
    with trackers.DjangoTracker() as found:
        own: Any = found
        router = own.backends["r"]
        assert router.process_event(dict(event))["name"] == "edx.course.viewed"
        with pytest.raises(EventEmissionExit):
            router.process_event({"name": "other"})
        router.send(event)
        router.send({**event, "name": "other"})
        router.backends["log"].send(event)
        counts = own.stats()
    assert (counts["r"].delivered, counts["r"].filtered, counts["r/log"].delivered) == (1, 1, 2)
    assert recorded["events"] == [{**event, "name": "edx.course.viewed"}]


def test_the_tree_can_be_changed_while_it_runs(settings: Any) -> None:
    """A backend or a processor that is put into the tracker has the events from then on; objects
    that stood there already stay the same.
    """
    settings.EVENT_TRACKING_BACKENDS = {"r": {"ENGINE": ROUTER, "OPTIONS": {"backends": MEMORY}}}
    seen: list[Any] = []
    new = SimpleNamespace(send=lambda event: seen.append(event["name"]))
    found: Any
    with trackers.DjangoTracker() as found:
        router = found.backends["r"]
        memory = router.backends["mem"]
        router.backends["new"] = new
        found.emit("one")
        assert (seen, router.backends["new"], list(router.backends)) == (
            ["one"],
            new,
            ["mem", "new"],
        )
        assert router.backends["mem"] is memory
        router.processors = [lambda event: {**event, "name": "renamed"}]
        found.emit("two")
        router.processors.append(lambda event: {**event, "name": event["name"] + " twice"})
        found.emit("three")
        assert seen == ["one", "renamed", "renamed twice"]
        del router.processors[0]
        del router.backends["new"]
        found.emit("four")
        names = [event["name"] for event in memory.events]
        assert names == ["one", "renamed", "renamed twice", "four twice"]
        assert len(seen) == 3
        assert all(counts.balanced for counts in found.stats().values())
        with pytest.raises(ValueError, match="has no method `send`"):
            router.register_backend("bad", object())
        with pytest.raises(ValueError, match="cannot be called"):
            router.register_processor(object())
        with pytest.raises(KeyError):
            del router.backends["unknown"]


def test_all_backends_of_a_router_can_be_exchanged(
    settings: Any, recorded: dict[str, list[Any]]
) -> None:
    """A router can lose its last backend and be given others; a backend that is put back where it
    stood stays the one that the tracker has.
    """
    log = {"ENGINE": LOGGER, "OPTIONS": {"name": "site.log"}}
    kept = {"ENGINE": "site_code.Recorder", "OPTIONS": {"tag": "kept"}}
    settings.EVENT_TRACKING_BACKENDS = {
        "r": {"ENGINE": ROUTER, "OPTIONS": {"backends": {"kept": kept, "log": log}}},
        "later": {"ENGINE": ASYNC_ROUTER, "OPTIONS": {"backends": {"kept": kept}}},
    }
    seen: list[Any] = []
    new = SimpleNamespace(send=lambda event: seen.append(event["name"]))
    found: Any
    with trackers.DjangoTracker() as found:
        del found.backends["later"]
        router = found.backends["r"]
        router.backends = {**router.backends, "new": new}
        router.backends["log"] = router.backends["log"]
        assert router == found.backends["r"]
        found.emit("one")
        assert found.stats()["r/log"].delivered == 1
        router.backends = {"new": new}
        found.emit("two")
        router.backends.clear()
        found.emit("three")
        assert isinstance(found.backends["r"], RoutingBackend)
        assert dict(found.backends["r"].backends) == {}
        router.processors.append(lambda event: {**event, "name": "renamed"})
        router.register_backend("new", new)
        found.emit("four")
        assert all(counts.balanced for counts in found.stats().values())
    assert [event["name"] for event in recorded["kept"]] == ["one"]
    assert seen == ["one", "two", "renamed"]


def test_an_asynchronous_router_without_backends_stays_one(settings: Any) -> None:
    """It is shown as an asynchronous one, and publishes again when it has a backend."""
    settings.EVENT_TRACKING_BACKENDS = {
        "later": {"ENGINE": ASYNC_ROUTER, "OPTIONS": {"backends": MEMORY}}
    }
    found: Any
    with trackers.DjangoTracker() as found:
        found.backends["later"].backends.clear()
        assert isinstance(found.backends["later"], AsyncRoutingBackend)
        found.backends["later"].backends["new"] = SimpleNamespace(send=print)
        assert list(found.backends["later"].backends) == ["new"]
        assert "later/new" in found.stats()


def test_problems_are_raised_at_their_places(settings: Any) -> None:
    """A tracker that cannot be made says why, at the place in the settings."""
    settings.EVENT_TRACKING_BACKENDS = {"mem": {"ENGINE": "site_code.Missing"}}
    with pytest.raises(
        ConfigError, match=r"EVENT_TRACKING_BACKENDS\.mem\.ENGINE: site_code has no Missing"
    ):
        trackers.DjangoTracker()


@pytest.mark.timeout(180)
@pytest.mark.process
@pytest.mark.parametrize("entry", ENTRIES)
def test_the_app_by_each_of_its_names(entry: str, tmp_path: Path) -> None:
    """INSTALLED_APPS may name the app as before."""
    code = f"""
import django
from django.conf import settings
settings.configure(INSTALLED_APPS=[{entry!r}], EVENT_TRACKING_BACKENDS={MEMORY!r})
django.setup()
from django.apps import apps
from eventtracking import tracker
print(apps.get_app_config("eventtracking_django").name, *tracker.get_tracker().backends)
"""
    parity = str(Path(__file__).parent / "parity")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        check=False,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": parity},
    )
    assert (done.stdout, done.stderr) == ("eventtracking_django mem\n", "")


@pytest.mark.timeout(180)
def test_what_was_on_its_way_to_a_worker_is_delivered(
    settings: Any, recorded: dict[str, list[Any]], caplog: pytest.LogCaptureFixture
) -> None:
    """A task that event-tracking sent before the site moved over is delivered by the new worker,
    retried on failure.
    """
    below = {"own": {"ENGINE": "site_code.Recorder", "OPTIONS": {"tag": "late"}}}
    settings.EVENT_TRACKING_BACKENDS = {
        "router": {"ENGINE": ASYNC_ROUTER, "OPTIONS": {"backends": below}}
    }
    caplog.set_level("ERROR")  # the worker sets the level of the root logger; this puts it back
    app = Celery("site", broker="memory://", backend="cache+memory://", set_as_current=False)
    assert celery_queue() == "celery"
    event = {
        "name": "course.viewed",
        "timestamp": datetime(2020, 1, 1, tzinfo=timezone.utc),
        "data": {},
        "context": {},
    }
    with (
        trackers.DjangoTracker() as own,
        start_worker(app, perform_ping_check=False, loglevel="ERROR"),
    ):
        former = tracker.get_tracker()
        tracker.register_tracker(own)
        app.send_task(
            "eventtracking.tasks.send_event", args=("router", event), ignore_result=False
        ).get(timeout=30)
        tracker.register_tracker(former)
        assert own.stats()["router/own"].delivered == 1
    assert recorded["late"] == [event]


def test_a_failed_old_task_is_retried() -> None:
    """When the destination fails, Celery gets the event back, and the failure is counted."""
    from celery.exceptions import Retry

    from eventtracking_legacy.task import send_event

    config = {
        "backends": {
            "router": {
                "plugin": "async_celery",
                "backends": {"own": {"plugin": "legacy", "engine": f"{__name__}.Broken"}},
            }
        }
    }
    app = Celery("site", broker="memory://", set_as_current=False)
    task = app.tasks[send_event.name]
    with Tracker.from_config(config) as own:
        former = tracker.get_tracker()
        tracker.register_tracker(own)
        for name in ("router", "missing"):
            arguments = (name, {"name": "n", "data": {}, "context": {}})
            task.push_request(
                id=str(uuid4()), args=arguments, kwargs={}, called_directly=False, retries=0
            )
            with pytest.raises(Retry):
                task.run(*arguments)
            task.pop_request()
        tracker.register_tracker(former)
        assert own.stats()["router/own"].failed == 1


class Broken:
    """A site's backend whose server is down."""

    def send(self, event: Any) -> None:
        raise ConnectionError
