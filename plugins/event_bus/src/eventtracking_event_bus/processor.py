"""The processor `event_bus_settings`."""

from __future__ import annotations

import attrs

from eventtracking import DropEvent, Event
from eventtracking_event_bus import bus

__all__ = ["EventBusSettings"]


@attrs.define(eq=False)
class EventBusSettings:
    """Keep the events that the Django settings let onto the event bus.

    `SEND_TRACKING_EVENT_EMITTED_SIGNAL` must be on, and the name listed in
    `EVENT_BUS_TRACKING_LOGS`. Both are read for each event, as event-tracking did.
    """

    def __call__(self, event: Event) -> Event:
        """Return the event.

        Raises:
            DropEvent: If the settings keep it off the bus.
        """
        reason = bus.refusal(event.name)
        if reason is not None:
            raise DropEvent(reason)
        return event
