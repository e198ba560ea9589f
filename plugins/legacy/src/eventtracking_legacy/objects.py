"""The predecessor's own classes, for site code that subclasses them, calls them, or names them
below a router of its own.

They work on dicts. Named in settings, the classes are never used, because the settings become a
config that names the plugins. A subclass may leave out `super().__init__()`.
"""

from __future__ import annotations

import copy
import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from eventtracking import Event, Rejected
from eventtracking_legacy.exceptions import (
    EventEmissionExit,
    ImproperlyConfigured,
    NoBackendEnabled,
    NoTransformerImplemented,
)
from eventtracking_legacy.shape import from_legacy
from eventtracking_legacy.shown import Shown

__all__ = [
    "AsyncRoutingBackend",
    "EventBusRoutingBackend",
    "LoggerBackend",
    "MongoBackend",
    "RoutingBackend",
    "SegmentBackend",
    "collect_rejections",
]

Processor = Callable[[Any], Any]


class RoutingBackend:
    """Run processors over an event, and send the result to each backend.

    Args:
        backends: Objects with `send`, by name.
        processors: Callables, in order.
    """

    def __init__(
        self,
        backends: Mapping[str, Any] | None = None,
        processors: Sequence[Processor] | None = None,
    ) -> None:
        for name, backend in sorted((backends or {}).items()):
            self.register_backend(name, backend)
        for processor in processors or ():
            self.register_processor(processor)

    @property
    def backends(self) -> Any:
        """The backends by name."""
        return vars(self).setdefault("_backends", {})

    @backends.setter
    def backends(self, backends: Mapping[str, Any]) -> None:
        vars(self)["_backends"] = backends

    @property
    def processors(self) -> Any:
        """The processors, in order."""
        return vars(self).setdefault("_processors", [])

    @processors.setter
    def processors(self, processors: Sequence[Processor]) -> None:
        vars(self)["_processors"] = processors

    def register_backend(self, name: str, backend: Any) -> None:
        """Add a backend.

        Raises:
            ValueError: If it has no method `send`.
        """
        if not callable(getattr(backend, "send", None)):
            raise ValueError(f"{type(backend).__name__} has no method `send`, so it is no backend")
        self.backends[name] = backend

    def register_processor(self, processor: Processor) -> None:
        """Add a processor after the others.

        Raises:
            ValueError: If it cannot be called.
        """
        if not callable(processor):
            raise ValueError(f"{type(processor).__name__} cannot be called, so it is no processor")
        self.processors.append(processor)

    def send(self, event: Any) -> None:
        """Process a copy of the event and send it on, unless a processor filters it out.

        Raises:
            Exception: The error of a processor, or of the first backend that failed; the others
                have the event.
        """
        try:
            processed = self.process_event(copy.deepcopy(event))
        except EventEmissionExit:
            return
        self.send_to_backends(processed)

    def process_event(self, event: Any) -> Any:
        """Run the processors.

        Raises:
            EventEmissionExit: If one filters the event out.
        """
        for processor in self.processors:
            result = processor(event)
            event = event if result is None else result
        return event

    def send_to_backends(self, event: Any) -> None:
        """Send a copy to each backend.

        Raises:
            Exception: The first error; the other backends have the event.
        """
        errors: list[Exception] = []
        for backend in self.backends.values():
            try:
                backend.send(copy.deepcopy(event))
            except (NoBackendEnabled, NoTransformerImplemented) as answer:
                _log.debug("%s raised %s", type(backend).__name__, type(answer).__name__)
            except Exception as error:  # noqa: BLE001 - the other backends go on
                errors.append(error)
        if errors:
            raise errors[0]


class AsyncRoutingBackend(RoutingBackend):
    """The predecessor's asynchronous router, where site code has it as an object: it delivers at
    once.

    Named in settings, it becomes the plugin `async_celery`.
    """

    def __init__(
        self,
        processors: Sequence[Processor] | None = None,
        backends: Mapping[str, Any] | None = None,
        backend_name: str = "",
    ) -> None:
        super().__init__(backends=backends, processors=processors)
        self.backend_name = backend_name


class EventBusRoutingBackend(AsyncRoutingBackend):
    """Send each event to the event bus; events from there go to the backends.

    Named in settings, it becomes the plugin `event_bus_router`.

    Raises:
        ImproperlyConfigured: If the distribution that sends is not installed.
    """

    def __init__(
        self,
        processors: Sequence[Processor] | None = None,
        backends: Mapping[str, Any] | None = None,
        backend_name: str = "",
    ) -> None:
        super().__init__(processors=processors, backends=backends, backend_name=backend_name)
        self._bus = _event_bus()

    def send(self, event: Any) -> None:
        """Send an event to the event bus, if the settings allow it.

        Raises:
            DeliveryError: If a receiver of the signal failed.
        """
        bus = vars(self).get("_bus") or _event_bus()
        found = from_legacy(Event(name="unknown"), event)
        if bus.refusal(found.name) is None:
            bus.publish(found)


def _event_bus() -> Any:
    try:
        from eventtracking_event_bus import bus
    except ImportError as error:
        raise ImproperlyConfigured(
            "EventBusRoutingBackend: its plugin is not installed;"
            " pip install 'eventtracking-legacy[event_bus]'"
        ) from error
    return bus


_log = logging.getLogger("eventtracking.legacy")
_rejections: ContextVar[list[str] | None] = ContextVar(
    "eventtracking_legacy.rejections", default=None
)


@contextmanager
def collect_rejections() -> Iterator[list[str]]:
    """Collect why backends of this module could not take the event that is sent in a
    `with` block.
    """
    found: list[str] = []
    token = _rejections.set(found)
    try:
        yield found
    finally:
        _rejections.reset(token)


class _PluginBackend(Shown):
    """A backend that takes one dict at a time, and has a plugin do the work."""

    _engine: str
    _plugin: str
    _made: Any = None
    _is_open = False
    _at_route: Callable[[Event], object] | None = None

    def __init__(self, **options: Any) -> None:
        self._made = _build(self._plugin, self._engine, options)
        self._show()

    @classmethod
    def at_route(cls, backend: Any, deliver: Callable[[Event], object]) -> _PluginBackend:
        """Return the object for a plugin's backend that stands in a tracker's tree.

        Args:
            backend: The plugin's.
            deliver: Sends an event down the route to it.
        """
        found = cls.__new__(cls)
        found._made, found._at_route = backend, deliver
        found._show()
        found._is_shown = True
        return found

    def __eq__(self, other: object) -> bool:
        """Tell whether the other stands for the same backend of a tracker, or is this object."""
        if not isinstance(other, _PluginBackend):
            return NotImplemented
        is_shown = self._at_route is not None and other._at_route is not None
        return self is other or (is_shown and self._made is other._made)

    def __hash__(self) -> int:
        return id(self._made) if self._at_route is not None else id(self)

    @property
    def _backend(self) -> Any:
        if self._made is None:  # a subclass without super().__init__()
            self._made = _build(self._plugin, self._engine, {})
        return self._made

    def _show(self) -> None:
        """Set the attributes that sites read."""

    def _deliver(self, event: Event) -> None:
        if not self._is_open:
            getattr(self._backend, "open", lambda: None)()
            self._is_open = True
        self._backend.send((event,))

    def send(self, event: Mapping[str, Any]) -> None:
        """Deliver one event.

        One that can never be delivered is noted, without its data, and nothing is raised.

        Raised to a router of the site's, it would have the event tried again at the siblings. So it
        is counted by the route in which the site's object stands, when that is done with all it
        has; outside of any, it is logged.

        Raises:
            Exception: The error of the plugin's backend, if the event may be tried again.
        """
        try:
            (self._at_route or self._deliver)(from_legacy(Event(name="unknown"), event))
        except Rejected as rejection:
            self._note("; ".join(rejection.reasons.values()))

    def _note(self, reason: str) -> None:
        collected = _rejections.get()
        if collected is None:
            _log.warning("%s dropped an event: %s", type(self).__name__, reason)
        else:
            collected.append(f"{type(self).__name__}: {reason}")


class LoggerBackend(_PluginBackend):
    """Log each event as one line of JSON. The options are `name`, `level` and `max_event_size`.

    A subclass may set the three attributes below, which `send` uses.
    """

    _engine, _plugin = "eventtracking.backends.logger.LoggerBackend", "logger"

    event_logger: logging.Logger = logging.getLogger()
    """The logger that it writes to."""
    log: Callable[..., None] = event_logger.info
    """The method of that logger for its level."""
    max_event_size: int = sys.maxsize
    """The longest line in bytes; without a limit, a number that no line reaches."""

    def _show(self) -> None:
        self.event_logger = logging.getLogger(self._backend.name)
        self.log = getattr(self.event_logger, self._backend.level)
        self.max_event_size = self._backend.max_event_bytes or sys.maxsize

    def _deliver(self, event: Event) -> None:
        line = event.to_json()
        if len(line.encode()) > self.max_event_size:
            raise Rejected({event.id: f"longer than max_event_bytes={self.max_event_size}"})
        self.log(line)


class MongoBackend(_PluginBackend):
    """Store each event in MongoDB. The options are those of the predecessor."""

    _engine, _plugin = "eventtracking.backends.mongodb.MongoBackend", "mongo"


class SegmentBackend(_PluginBackend):
    """Send each event to Segment."""

    _engine, _plugin = "eventtracking.backends.segment.SegmentBackend", "segment"


def _build(name: str, engine: str, options: dict[str, Any]) -> Any:
    from eventtracking.config import parse
    from eventtracking_legacy.settings import translate

    translation = translate({name: {"ENGINE": engine, "OPTIONS": options}})
    spec = parse(translation.config)
    route = spec.routes[0]
    return (route.children[0] if route.children else route).instance
