"""The predecessor's own classes, for site code that subclasses them, or names them below a router
of its own.

They work on dicts. What they do is done by the plugins of the same purpose; named in settings, the
classes are never used, because the settings become a config that names the plugins.
"""

from __future__ import annotations

import copy
import logging
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from eventtracking import DropEvent, Event, Rejected
from eventtracking_legacy.exceptions import EventEmissionExit, ImproperlyConfigured

__all__ = [
    "AsyncRoutingBackend",
    "LoggerBackend",
    "MongoBackend",
    "NameWhitelistProcessor",
    "RegexFilter",
    "RoutingBackend",
    "SegmentBackend",
    "collect_rejections",
]


class RoutingBackend:
    """Run processors over an event, and send what comes out to each backend.

    Args:
        backends: Objects with `send`, by name.
        processors: Callables, in order.
    """

    def __init__(
        self,
        backends: Mapping[str, Any] | None = None,
        processors: Sequence[Callable[[Any], Any]] | None = None,
    ) -> None:
        self.backends: dict[str, Any] = {}
        self.processors: list[Callable[[Any], Any]] = []
        for name, backend in sorted((backends or {}).items()):
            self.register_backend(name, backend)
        for processor in processors or ():
            self.register_processor(processor)

    def register_backend(self, name: str, backend: Any) -> None:
        """Add a backend.

        Raises:
            ValueError: If it has no method `send`.
        """
        if not callable(getattr(backend, "send", None)):
            raise ValueError(f"{type(backend).__name__} has no method `send`, so it is no backend")
        self.backends[name] = backend

    def register_processor(self, processor: Callable[[Any], Any]) -> None:
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
            Exception: What a processor raised, or the first backend that failed; the others have
                the event.
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
        processors: Sequence[Callable[[Any], Any]] | None = None,
        backends: Mapping[str, Any] | None = None,
        backend_name: str = "",
    ) -> None:
        super().__init__(backends=backends, processors=processors)
        self.backend_name = backend_name


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


class _PluginBackend:
    """A plugin's backend that takes one dict at a time."""

    def __init__(self, **options: Any) -> None:
        self._backend: Any = self._make(options)
        self._is_open = False
        self._deliver: Callable[[Event], object] = self._deliver_alone
        self._show()

    @classmethod
    def at_route(cls, backend: Any, deliver: Callable[[Event], object]) -> _PluginBackend:
        """Return the object for a plugin's backend that stands in a tracker's tree.

        Args:
            backend: The plugin's.
            deliver: Sends an event down the route to it.
        """
        found = cls.__new__(cls)
        found._backend, found._deliver = backend, deliver
        found._show()
        return found

    def _make(self, options: dict[str, Any]) -> Any:
        raise NotImplementedError

    def _show(self) -> None:
        """Set the attributes that sites read."""

    def _deliver_alone(self, event: Event) -> None:
        if not self._is_open:
            getattr(self._backend, "open", lambda: None)()
            self._is_open = True
        self._backend.send((event,))

    def send(self, event: Mapping[str, Any]) -> None:
        """Deliver one event.

        One that can never be delivered is noted, without what it holds, and nothing is raised.

        Raised to a router of the site's, it would have the event tried again at the siblings. So it
        is counted by the route in which the site's object stands, when that is done with all it
        has; outside of any, it is logged.

        Raises:
            Exception: What the plugin's backend raised, if the event may be tried again.
        """
        try:
            self._deliver(_event(event))
        except Rejected as rejection:
            self._note("; ".join(rejection.reasons.values()))

    def _note(self, reason: str) -> None:
        collected = _rejections.get()
        if collected is None:
            _log.warning("%s dropped an event: %s", type(self).__name__, reason)
        else:
            collected.append(f"{type(self).__name__}: {reason}")


class LoggerBackend(_PluginBackend):
    """Log each event as one line of JSON. The options are `name`, `level` and `max_event_size`."""

    event_logger: logging.Logger
    """The logger that it writes to."""
    log: Callable[..., None]
    """The method of that logger for its level."""
    max_event_size: int
    """The longest line in bytes; without a limit, a number that no line reaches."""

    def _make(self, options: dict[str, Any]) -> Any:
        return _build("logger", "eventtracking.backends.logger.LoggerBackend", options)

    def _show(self) -> None:
        self.event_logger = logging.getLogger(self._backend.name)
        self.log = getattr(self.event_logger, self._backend.level)
        self.max_event_size = self._backend.max_event_bytes or sys.maxsize


class MongoBackend(_PluginBackend):
    """Store each event in MongoDB. The options are those of the predecessor."""

    def _make(self, options: dict[str, Any]) -> Any:
        return _build("mongo", "eventtracking.backends.mongodb.MongoBackend", options)


class SegmentBackend(_PluginBackend):
    """Send each event to Segment."""

    def _make(self, options: dict[str, Any]) -> Any:
        return _build("segment", "eventtracking.backends.segment.SegmentBackend", options)


class _PluginFilter:
    """A plugin's filter that takes one dict at a time."""

    _filter: Any

    @classmethod
    def of_plugin(cls, plugin_filter: Any) -> _PluginFilter:
        """Return the object for a plugin's filter that stands in a tracker's tree."""
        found = cls.__new__(cls)
        found._filter = plugin_filter
        found._show()
        return found

    def _show(self) -> None:
        """Set the attributes that sites read."""

    def __call__(self, event: Any) -> Any:
        """Return the event.

        Raises:
            EventEmissionExit: If its name is not accepted.
        """
        try:
            self._filter(Event(name=event["name"]))
        except DropEvent as drop:
            raise EventEmissionExit(drop.reason) from drop
        return event


class RegexFilter(_PluginFilter):
    """Keep or drop events by patterns at the start of their names."""

    filter_type: str
    regular_expressions: frozenset[str]
    compiled_expressions: list[re.Pattern[str]]

    def __init__(
        self, filter_type: str = "allowlist", regular_expressions: Sequence[str] | None = None
    ) -> None:
        self._filter = _build_filter(
            "eventtracking.processors.regex_filter.RegexFilter",
            {"filter_type": filter_type, "regular_expressions": regular_expressions},
        )
        self._show()

    def _show(self) -> None:
        self.filter_type = self._filter.filter_type
        self.regular_expressions = frozenset(self._filter.regular_expressions)
        self.compiled_expressions = [
            re.compile(expression) for expression in self.regular_expressions
        ]


class NameWhitelistProcessor(_PluginFilter):
    """Keep the events whose names are listed."""

    whitelist: frozenset[str]

    def __init__(self, whitelist: Any = None, **_ignored: Any) -> None:
        self._filter = _build_filter(
            "eventtracking.processors.whitelist.NameWhitelistProcessor", {"whitelist": whitelist}
        )
        self._show()

    def _show(self) -> None:
        self.whitelist = frozenset(self._filter.names)


def _event(document: Mapping[str, Any]) -> Event:
    from eventtracking_legacy.shape import from_legacy

    return from_legacy(Event(name="unknown"), document)


def _build(name: str, engine: str, options: dict[str, Any]) -> Any:
    from eventtracking.config import parse
    from eventtracking_legacy.settings import translate

    spec = parse(translate({name: {"ENGINE": engine, "OPTIONS": options}}).config)
    route = spec.routes[0]
    return (route.children[0] if route.children else route).instance


def _build_filter(engine: str, options: dict[str, Any]) -> Any:
    from eventtracking import ConfigError
    from eventtracking.config import parse
    from eventtracking_legacy.settings import translate

    try:
        spec = parse(translate({}, [{"ENGINE": engine, "OPTIONS": options}]).config)
    except ConfigError as error:
        raise ImproperlyConfigured(str(error)) from error
    return spec.processors[0].instance
