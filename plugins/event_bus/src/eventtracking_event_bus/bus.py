"""The signal of openedx-events that carries tracking events: sending it, and reading it.

The producer of the event bus is a receiver of that signal, which openedx-events connects where
`EVENT_BUS_PRODUCER_CONFIG` names it.
"""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import Any, Final

from django.conf import settings
from django.db import close_old_connections
from openedx_events.analytics.data import TrackingLogData  # type: ignore[import-untyped]  # no types
from openedx_events.analytics.signals import (  # type: ignore[import-untyped]  # no types
    TRACKING_EVENT_EMITTED,
)

from eventtracking import DeliveryError, Event
from eventtracking._data.shape import bare

__all__ = ["TOGGLE", "missing_producer", "publish", "read", "refusal"]

TOGGLE: Final = "SEND_TRACKING_EVENT_EMITTED_SIGNAL"
_ALLOWED: Final = "EVENT_BUS_TRACKING_LOGS"


def refusal(name: str) -> str | None:
    """Tell why the Django settings keep events of this name off the bus. None: they do not."""
    if not getattr(settings, TOGGLE, False):
        return f"{TOGGLE} is off"
    if name not in (getattr(settings, _ALLOWED, None) or ()):
        return f"not in {_ALLOWED}"
    return None


def missing_producer() -> str | None:
    """Tell why the signal cannot reach the event bus; None if it can."""
    topics = getattr(settings, "EVENT_BUS_PRODUCER_CONFIG", {}).get(
        TRACKING_EVENT_EMITTED.event_type, {}
    )
    if not any(topic.get("enabled") for topic in topics.values()):
        return f"EVENT_BUS_PRODUCER_CONFIG enables no topic for {TRACKING_EVENT_EMITTED.event_type}"
    if not getattr(settings, "EVENT_BUS_PRODUCER", None):
        return "EVENT_BUS_PRODUCER is not set"
    return None


def publish(event: Event) -> None:
    """Send the signal for one event.

    Raises:
        DeliveryError: If a receiver failed, the producer among them.
    """
    document = json.loads(event.to_json())
    log = TrackingLogData(
        name=str(document.get("name", event.name)),
        timestamp=event.timestamp,
        data=json.dumps(document.get("data", {})),
        context=json.dumps(document.get("context", {})),
    )
    close_old_connections()  # the thread of a buffer serves no request that would do it
    try:
        responses = TRACKING_EVENT_EMITTED.send_event(tracking_log=log)
    finally:
        close_old_connections()
    failed = sorted({_describe(*one) for one in responses if isinstance(one[1], Exception)})
    if failed:
        raise DeliveryError(f"receivers of the signal failed: {', '.join(failed)}")


def _describe(receiver: Any, error: Exception) -> str:
    name = getattr(receiver, "__qualname__", type(receiver).__name__)
    return f"{name} raised {type(error).__name__}"  # its text may hold an event's values


def read(log: TrackingLogData, metadata: Any) -> Event:
    """Read the event of a signal that came from the bus.

    Its id is that of the bus's message, so that a message that comes twice is stored once.
    """
    data, context = _parsed(log.data), _parsed(log.context)
    extra: dict[str, Any] = {}
    if not isinstance(data, dict):
        data, extra = bare(data)
    return Event(
        name=log.name or "unknown",
        id=str(metadata.id),
        timestamp=_aware(log.timestamp or metadata.time),
        context=context if isinstance(context, dict) else {},
        data=data,
        extra=extra,
    )


def _aware(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        return moment.replace(tzinfo=timezone.utc)
    return moment.astimezone(timezone.utc)


def _parsed(text: Any) -> Any:
    try:
        return json.loads(text)
    except (TypeError, ValueError, RecursionError):
        return text
