"""The backend `legacy`: a site's own backend or router, written for event-tracking."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from typing import Any, Final

import attrs

from eventtracking import Event, Rejected
from eventtracking_legacy.engine import (
    Given,
    find_class,
    instantiate,
    options_for,
    require_fitting_options,
)
from eventtracking_legacy.exceptions import (
    EventEmissionExit,
    NoBackendEnabled,
    NoTransformerImplemented,
)
from eventtracking_legacy.objects import collect_rejections
from eventtracking_legacy.shape import to_legacy

__all__ = ["LegacyBackend"]

_log = logging.getLogger("eventtracking.legacy")
_MAX_REMEMBERED: Final = 10_000
_MAX_LONE_FAILURES: Final = 3
"""So often an event may fail in a batch whose others are delivered, before it is rejected."""


@attrs.define(eq=False)
class LegacyBackend:
    """Hand each event to a site's own backend or router, written for event-tracking.

    It gets a dict of its own. The nodes in its options (`ENGINE` and `OPTIONS`, at any
    depth) is made into instances first, as event-tracking did. The instance is made on first use,
    so that one that connects does not keep the application from starting. It has no way to say
    which events of a batch it took, so they are handed over one by one, and those that it took are
    not given to it again while a router retries the others.
    """

    engine: str = attrs.field(metadata={"help": "The dotted path of the backend's class."})
    options: Any = attrs.field(
        factory=dict, repr=False, metadata={"help": "The keyword arguments of the class."}
    )
    _options: dict[str, Any] = attrs.field(init=False, repr=False)
    _class: Any = attrs.field(init=False, repr=False)
    _site: Any = attrs.field(init=False, repr=False, default=None)
    _made_in: int = attrs.field(init=False, repr=False, default=0)
    _delivered: dict[str, str] = attrs.field(init=False, repr=False, factory=dict)
    _failures: dict[str, int] = attrs.field(init=False, repr=False, factory=dict)

    _remark: Callable[[str], object] = attrs.field(init=False, repr=False, default=_log.debug)

    def __attrs_post_init__(self) -> None:
        if isinstance(self.options, Given):
            self._site, self._made_in = self.options.value, os.getpid()
            self._options, self._class = {}, None
            return
        self._options = options_for(self.engine, self.options)
        self._class = find_class(self.engine, "send")
        require_fitting_options(self._class, self._options)

    @property
    def site(self) -> Any:
        """The site's own object, made anew in each process."""
        if self._made_in != os.getpid() and self._class is not None:
            self._site = self._class(**instantiate(self._options))
            self._made_in = os.getpid()
        return self._site

    def remark_to(self, remark: Callable[[str], object]) -> None:
        """Take the function that adds a reason to the counts of this backend's route."""
        self._remark = remark

    def open(self) -> None:
        """Make the site's object.

        Raises:
            Exception: The error of its constructor.
        """
        _ = self.site

    def send(self, events: Sequence[Event]) -> None:
        """Hand over each event.

        Raises:
            Rejected: For those that the backend refuses again and again while it takes others.
            Exception: The first error of the site's backend.
        """
        errors = {event.id: error for event in events if (error := self._try(event)) is not None}
        if errors:
            self._judge(errors, some_delivered=len(errors) < len(events))
        self._forget(events)

    def _judge(self, errors: dict[str, Exception], some_delivered: bool) -> None:
        """Decide whether the failed events are tried again, or are bad for good."""
        passing = [error for error in errors.values() if not isinstance(error, Rejected)]
        failures = self._count_failures(errors)
        if passing and not (some_delivered and failures >= _MAX_LONE_FAILURES):
            raise passing[0]
        self._failures = {key: count for key, count in self._failures.items() if key not in errors}
        raise Rejected({event_id: _reason(error, event_id) for event_id, error in errors.items()})

    def _try(self, event: Event) -> Exception | None:
        if event.id in self._delivered:
            return self._rejection(event)
        try:
            with collect_rejections() as reasons:
                self.site.send(to_legacy(event))
        except EventEmissionExit:
            return Rejected({event.id: "the backend raised EventEmissionExit"})
        except (NoBackendEnabled, NoTransformerImplemented) as answer:
            # The backend has looked at the event and wants nothing of it: no retry helps.
            self._remark(f"the backend raised {type(answer).__name__}")
            reasons = []
        except Exception as error:  # noqa: BLE001 - it is raised again when the others have been tried
            return error
        self._delivered[event.id] = "; ".join(reasons)
        return self._rejection(event)

    def _rejection(self, event: Event) -> Rejected | None:
        """Tell why a backend of ours inside the site's refused its part for good."""
        reason = self._delivered[event.id]
        return Rejected({event.id: reason}) if reason else None

    def _count_failures(self, errors: dict[str, Exception]) -> int:
        """Count one more failure of each; return how often the one that failed least has."""
        if len(self._failures) > _MAX_REMEMBERED or len(self._delivered) > _MAX_REMEMBERED:
            self._failures, self._delivered = {}, {}
        for event_id in errors:
            self._failures[event_id] = self._failures.get(event_id, 0) + 1
        return min(self._failures.get(event_id, 1) for event_id in errors)

    def _forget(self, events: Sequence[Event]) -> None:
        for event in events:
            self._delivered.pop(event.id, None)
            self._failures.pop(event.id, None)


def _reason(error: Exception, event_id: str) -> str:
    if isinstance(error, Rejected):
        # one that the site's backend lets through from inside may know the event by another id
        return error.reasons.get(event_id) or "; ".join(error.reasons.values())
    return f"{type(error).__name__} again and again, while others were delivered"
