"""The backend `event_bus`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import ClassVar

import attrs

from eventtracking import DeliveryError, Event, Undelivered
from eventtracking_event_bus import bus

__all__ = ["EventBusBackend"]

_log = logging.getLogger("eventtracking.event_bus")


@attrs.define(eq=False)
class EventBusBackend:
    """Send each event to the event bus of Open edX, as the signal that its plugins wait for.

    An event is delivered when every receiver of the signal, the bus's producer among them, has
    returned. Of a batch, events that are delivered are not sent again while others are tried again.
    """

    blocking: ClassVar[bool] = True
    """A producer may wait for a network."""

    def open(self) -> None:
        """Say in the log if no producer is configured: only receivers in this process hear then."""
        reason = bus.missing_producer()
        if reason is not None:
            _log.warning("events reach no event bus: %s", reason)

    def probe(self) -> None:
        """See that a producer is configured.

        Raises:
            DeliveryError: If events would reach no event bus.
        """
        reason = bus.missing_producer()
        if reason is not None:
            raise DeliveryError(f"events reach no event bus: {reason}")

    def send(self, events: Sequence[Event]) -> None:
        """Send each event.

        Raises:
            Undelivered: For the events that a receiver failed to take.
        """
        failed = {event.id: error for event in events if (error := self._try(event))}
        if failed:
            raise Undelivered(retry=failed)

    def _try(self, event: Event) -> str:
        """Send one event; return why it failed, or nothing."""
        try:
            bus.publish(event)
        except DeliveryError as error:
            return str(error)
        except Exception as error:  # noqa: BLE001 - the other events have their turn
            return type(error).__name__
        return ""
