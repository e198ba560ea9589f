"""The router `event_bus_router`: events go to the event bus, and come from there to the routes
below it.

One Django project is both ends: its web processes send, and its consumers (`manage.py
consume_events`) receive, with the same settings.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, ClassVar, Final

import attrs
from openedx_events.analytics.signals import (  # type: ignore[import-untyped]  # no types
    TRACKING_EVENT_EMITTED,
)

from eventtracking import Counts, Event, Outcome, Undelivered
from eventtracking.counts import Ledger
from eventtracking.errors import describe_error
from eventtracking.protocols import Downstream, Failures
from eventtracking.standing import Tally
from eventtracking.tracker import live_trackers
from eventtracking_event_bus import bus
from eventtracking_event_bus.backend import EventBusBackend

__all__ = ["EventBusRouter"]

_log = logging.getLogger("eventtracking.event_bus")
_FROM_BUS: Final = "from_event_bus"


@attrs.define(eq=False)
class EventBusRouter(EventBusBackend):
    """Send each event to the event bus of Open edX; deliver below the events from there.

    An event counts as delivered here when every receiver of the signal has returned. The routes
    below count in the process that consumes the bus. Failures there are counted as failed: put a
    buffer there to have it tried again.
    """

    defers: ClassVar[bool] = True
    """`send` returns before a child is called."""

    _downstream: Downstream | None = attrs.field(init=False, repr=False, default=None)
    _tally: Tally | None = attrs.field(init=False, repr=False, default=None)
    _ledger: Ledger = attrs.field(init=False, repr=False, factory=Ledger)

    def bind(self, downstream: Downstream) -> None:
        """Take the routes below."""
        self._downstream, self._tally = downstream, Tally(downstream.routes)

    def send(self, events: Sequence[Event]) -> None:
        """Send each event.

        Raises:
            Undelivered: For the events that a receiver failed to take.
        """
        try:
            EventBusBackend.send(self, events)
        except Undelivered as failure:
            self._count_delivered(len(events) - len(failure.retry))
            raise
        self._count_delivered(len(events))

    def _count_delivered(self, count: int) -> None:
        change = count * Outcome.DELIVERED.record  # no call within `+=`, see `Ledger`
        self._ledger.total += change

    def receive(self, event: Event) -> None:
        """Deliver an event that came from the bus to the routes below, once."""
        if self._downstream is None or self._tally is None:
            return
        answer = Failures()
        try:
            self._downstream.deliver([event], first=True, into=answer)
        finally:
            standing = answer.standing(event.id)
            lost = [path for path, outcome in standing.items() if outcome is Outcome.PENDING]
            self._tally.move({}, {**standing, **dict.fromkeys(lost, Outcome.FAILED)})
            self._tally.remark(answer.reasons)
        for path, errors in answer.items():
            reason = describe_error(errors[event.id])
            self._tally.ledgers[path].note(Outcome.FAILED, reason)
            _log.error("route %r: an event from the event bus was lost: %s", path, reason)

    def counts(self) -> dict[str, Counts]:
        """Return the counts of this route and of those below, in this process."""
        if self._downstream is None or self._tally is None:
            return {}
        return {self._downstream.path: self._ledger.counts(), **self._tally.counts()}


def _routers() -> list[EventBusRouter]:
    """The routers of all trackers that are in use in this process."""
    backends = (
        getattr(route, "backend", None)
        for tracker in live_trackers()
        for route in tracker._tree.routes.values()
    )
    return [backend for backend in backends if isinstance(backend, EventBusRouter)]


def receive_from_bus(**arguments: Any) -> None:
    """Take a signal; one that was sent in this process is on its way out."""
    if arguments.get(_FROM_BUS) is not True:
        return
    event = bus.read(arguments["tracking_log"], arguments["metadata"])
    for router in _routers():
        router.receive(event)


# Here and not in `bind`, because a check binds routers, too, and a consumer never opens one.
TRACKING_EVENT_EMITTED.connect(receive_from_bus, dispatch_uid="eventtracking_event_bus")
