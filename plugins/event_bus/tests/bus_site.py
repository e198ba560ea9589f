"""A Django project whose tracking events go over the event bus, in one process after another.

`python bus_site.py SCENE` prints a JSON object.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import uuid
from datetime import datetime, timezone
from typing import Any

from django.conf import settings

TYPE = "org.openedx.analytics.tracking.event.emitted.v1"
ALLOWED = {"processors": [{"plugin": "event_bus_settings"}]}
BELOW = {"backends": {"log": {"plugin": "logger", "name": "below"}}}
BUS: dict[str, Any] = {"plugin": "event_bus_router", **ALLOWED, **BELOW}


def set_up(**more: Any) -> list[dict[str, Any]]:
    """Configure Django; return the list of events that arrive below the router."""
    redis = os.environ.get("REDIS_URL")
    producer = {
        "EVENT_BUS_PRODUCER": "edx_event_bus_redis.create_producer",
        "EVENT_BUS_CONSUMER": "edx_event_bus_redis.RedisEventConsumer",
        "EVENT_BUS_REDIS_CONNECTION_URL": redis,
        "EVENT_BUS_TOPIC_PREFIX": "test",
        "EVENT_BUS_REDIS_CONSUMER_POLL_TIMEOUT": 1,
        "EVENT_BUS_PRODUCER_CONFIG": {
            TYPE: {"events": {"event_key_field": "tracking_log.name", "enabled": True}}
        },
    }
    values = {
        "INSTALLED_APPS": ["openedx_events", "eventtracking_django"],
        "DATABASES": {},
        "SECRET_KEY": "for tests",
        "SEND_TRACKING_EVENT_EMITTED_SIGNAL": True,
        "EVENT_BUS_TRACKING_LOGS": ["course.enrolled"],
        "EVENT_TRACKING": {"backends": {"bus": BUS}},
        **(producer if redis else {}),
        **more,
    }
    settings.configure(**values)
    import django

    django.setup()
    arrived: list[dict[str, Any]] = []
    handler = logging.Handler()
    handler.emit = lambda record: arrived.append(json.loads(record.getMessage()))  # type: ignore[method-assign]  # of this one
    log = logging.getLogger("below")
    log.setLevel(logging.INFO)
    log.addHandler(handler)
    return arrived


def counts(path: str) -> dict[str, Any]:
    """The counts of a route of the default tracker."""
    from eventtracking.tracker import get_tracker

    found = get_tracker().stats()[path]
    names = ("received", "delivered", "filtered", "failed")
    return {**{name: getattr(found, name) for name in names}, "reasons": dict(found.reasons)}


def emitted() -> dict[str, Any]:
    """Emit; the signal carries the allowed events, and nothing arrives below."""
    below = set_up()
    signals: list[Any] = []
    connect(lambda **given: signals.append((given["tracking_log"], given["from_event_bus"])))
    emit()
    (log, from_bus), *more = signals
    carried = [log.name, json.loads(log.data), json.loads(log.context), from_bus]
    return {"carried": carried, "more": len(more), "below": below, "counts": counts("bus")}


def off() -> dict[str, Any]:
    """Emit while the toggle is off."""
    set_up(SEND_TRACKING_EVENT_EMITTED_SIGNAL=False)
    emit()
    return counts("bus")


def failing() -> dict[str, Any]:
    """Emit while a receiver of the signal fails, then without it."""
    set_up(EVENT_TRACKING={"backends": {"bus": {"plugin": "event_bus", **ALLOWED}}})

    def broken(**_: Any) -> None:
        raise ValueError("a secret value")

    connect(broken)
    emit()
    return counts("bus")


def received() -> dict[str, Any]:
    """Take signals as a consumer of the bus sends them, one of them twice."""
    from openedx_events.analytics.data import TrackingLogData  # type: ignore[import-untyped]  # no types
    from openedx_events.analytics.signals import (  # type: ignore[import-untyped,unused-ignore]  # no types
        TRACKING_EVENT_EMITTED,
    )
    from openedx_events.data import EventsMetadata  # type: ignore[import-untyped]  # no types

    below = set_up()
    moment = datetime(2026, 1, 2, tzinfo=timezone.utc)
    for data in ('{"k": 1}', '"input_1=a"', "not json"):
        log = TrackingLogData(name="any", timestamp=moment, data=data, context='{"user_id": 3}')
        metadata = EventsMetadata(event_type=TYPE, id=uuid.UUID(int=7, version=1), time=moment)
        TRACKING_EVENT_EMITTED.send_event_with_custom_metadata(metadata, tracking_log=log)
    return {"below": below, "log": counts("bus/log")}


def consume() -> dict[str, Any]:
    """Consume the bus until one event has arrived."""
    from django.core.management import call_command

    below = set_up()

    class Enough(BaseException):
        """Leave the loop of the consumer."""

    handler = logging.getLogger("below").handlers[0]
    keep = handler.emit

    def keep_and_stop(record: logging.LogRecord) -> None:
        keep(record)
        raise Enough

    handler.emit = keep_and_stop  # type: ignore[method-assign]  # of this one
    extra = '{"consumer_name": "one", "last_read_msg_id": "0"}'
    with contextlib.suppress(Enough):
        call_command("consume_events", topic=["events"], group_id=["g"], extra=extra)
    return {"below": below}


def produce() -> dict[str, Any]:
    """Emit with a producer."""
    set_up()
    emit()
    return counts("bus")


def emit() -> None:
    """Emit one event that may go to the bus, and one that may not."""
    from eventtracking import tracker

    with tracker.context("request", {"user_id": 3}):
        tracker.emit("course.enrolled", {"course_id": "demo"})
        tracker.emit("course.left", {})


def connect(receiver: Any) -> None:
    """Connect a receiver of the signal for the life of the process."""
    from openedx_events.analytics.signals import (  # type: ignore[import-untyped,unused-ignore]  # no types
        TRACKING_EVENT_EMITTED,
    )

    TRACKING_EVENT_EMITTED.connect(receiver, weak=False)


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](), default=str))
