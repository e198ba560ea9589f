"""The settings of event-tracking, `EVENT_TRACKING_BACKENDS` and `EVENT_TRACKING_PROCESSORS`, as a
config.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import attrs

from eventtracking import ConfigError, Problem
from eventtracking_legacy import notes
from eventtracking_legacy.engine import Verbatim
from eventtracking_legacy.errors import settings_error, with_extra
from eventtracking_legacy.notes import Note
from eventtracking_legacy.values import (
    as_list,
    as_names,
    as_patterns,
    copied,
    has_tuple,
    kind_of,
    route_names,
    with_uri,
)

__all__ = ["BACKENDS", "ENABLED", "PROCESSORS", "Translation", "translate"]

BACKENDS: Final = "EVENT_TRACKING_BACKENDS"
PROCESSORS: Final = "EVENT_TRACKING_PROCESSORS"
ENABLED: Final = "EVENT_TRACKING_ENABLED"

_MODULES: Final = "eventtracking.backends."
_ROUTER: Final = f"{_MODULES}routing.RoutingBackend"
_ASYNC_ROUTER: Final = f"{_MODULES}async_routing.AsyncRoutingBackend"
_BUS_ROUTER: Final = f"{_MODULES}event_bus.EventBusRoutingBackend"
_LOGGER: Final = f"{_MODULES}logger.LoggerBackend"
_MONGO: Final = f"{_MODULES}mongodb.MongoBackend"
_SEGMENT: Final = f"{_MODULES}segment.SegmentBackend"
_REGEX: Final = "eventtracking.processors.regex_filter.RegexFilter"
_WHITELIST: Final = "eventtracking.processors.whitelist.NameWhitelistProcessor"
_OLD_PLACES: Final = {
    "": "",
    "engine": ".ENGINE",
    "max_event_bytes": ".OPTIONS.max_event_size",
    "names": ".OPTIONS.whitelist",
    "options": ".OPTIONS",
    "plugin": ".ENGINE",
    "uri": ".OPTIONS.host",
}
"""Where a problem of an option stands in the settings, if not under its own name."""

_LEVELS: Final = {"exception": "error", "fatal": "critical", "warn": "warning"}
"""Further methods of a logger, which event-tracking took as levels."""


@attrs.frozen(eq=False)
class Translation:
    """A config made from settings of event-tracking."""

    config: dict[str, Any]
    notes: tuple[Note, ...]
    """What differs, for `eventtracking migrate`."""
    places: Mapping[str, str]
    """The place in the settings of each node of the config."""

    def in_settings(self, error: ConfigError) -> ConfigError:
        """Return the same problems with their places in the settings in place of those in the
        config.
        """
        found = [
            attrs.evolve(
                with_extra(problem, self._node(problem.path)), path=self._place(problem.path)
            )
            for problem in error.problems
        ]
        # a buffer and the backend below it may lack the same extra, at the same place
        return settings_error(list(dict.fromkeys(found)))

    def _node(self, path: str) -> Mapping[str, Any]:
        node: Any = self.config
        for key in path.split(".")[:-1]:
            name, _, index = key.partition("[")
            node = node.get(name, {}) if isinstance(node, Mapping) else {}
            node = node[int(index[:-1])] if index and isinstance(node, list) else node
        return node if isinstance(node, Mapping) else {}

    def _place(self, path: str) -> str:
        found = max(
            (known for known in self.places if f"{path}.".startswith(f"{known}.")),
            key=len,
            default=None,
        )
        if found is None:
            return path
        option, _, deeper = path[len(found) :].lstrip(".").partition("[")
        place = self.places[found] + _OLD_PLACES.get(option, f".OPTIONS.{option}")
        return f"{place}[{deeper}" if deeper else place


def translate(
    backends: Any,
    processors: Any = (),
    plain: bool = False,
    queue: Callable[[], str | None] = lambda: None,
) -> Translation:
    """Translate the settings, which are not changed.

    Only the modules that they name are imported, and those later.

    Args:
        backends: `EVENT_TRACKING_BACKENDS`.
        processors: `EVENT_TRACKING_PROCESSORS`.
        plain: Whether to give the options of a site's own classes as a plain table, to be written
            to a file.
        queue: Tells which queue the site's Celery workers read; asked only if there is an
            asynchronous router. None: that of the plugin `async_celery`.

    Raises:
        ConfigError: With every problem of their form, at its place in the settings.
    """
    translator = _Translator(plain, queue)
    config: dict[str, Any] = {"values": ["legacy"]}
    chain = translator.chain(processors, PROCESSORS, "")
    if chain:
        config["processors"] = chain
    config["backends"] = translator.routes(backends, BACKENDS, "")
    if translator.problems:
        raise settings_error(translator.problems)
    return Translation(config, tuple(translator.notes), translator.places)


class _Translator:
    """One translation. Problems and notes are collected on the way."""

    def __init__(self, plain: bool, queue: Callable[[], str | None]) -> None:
        self._plain = plain
        self._queue = queue
        self._off_request = False
        self.problems: list[Problem] = []
        self.notes: list[Note] = []
        self.places: dict[str, str] = {}

    def _note(self, text: str, place: str) -> None:
        self.notes.append(Note(place, text))

    def _problem(
        self, place: str, message: str, found: Any = None, hint: str | None = None
    ) -> None:
        self.problems.append(Problem(path=place, message=message, found=kind_of(found), hint=hint))

    # Nodes

    def routes(self, backends: Any, place: str, path: str) -> dict[str, Any]:
        """Translate a mapping of backends, in the predecessor's order, which is the alphabet's."""
        if backends is None:
            return {}
        if not isinstance(backends, Mapping):
            self._problem(place, "expected a dict of backends by name", backends)
            return {}
        if list(backends) != sorted(backends, key=str):
            self._note(notes.ORDER, place)
        found = {}
        for key, name in route_names(sorted(backends, key=str)):
            where = f"{path}.backends.{name}" if path else f"backends.{name}"
            if name != key:
                self._note(notes.RENAMED, f"{place}.{key}")
            node = self._route(backends[key], f"{place}.{key}", where)
            if node is not None:
                found[name] = node
        return found

    def chain(self, processors: Any, place: str, path: str) -> list[dict[str, Any]]:
        """Translate a list of processors."""
        if processors is None:
            return []
        if isinstance(processors, str | Mapping) or not isinstance(processors, Sequence):
            self._problem(place, "expected a list of processors", processors)
            return []
        prefix = f"{path}.processors" if path else "processors"
        found: list[dict[str, Any]] = []
        for index, node in enumerate(processors):
            self.places[f"{prefix}[{len(found)}]"] = f"{place}[{index}]"
            translated = self._processor(node, f"{place}[{index}]")
            if translated is not None:
                found.append(translated)
        return found

    def _read(self, node: Any, place: str) -> tuple[str, dict[str, Any]] | None:
        if not isinstance(node, Mapping) or not isinstance(node.get("ENGINE"), str):
            self._problem(
                place, "expected a dict with ENGINE, the dotted path of a class, and OPTIONS", node
            )
            return None
        options = node.get("OPTIONS", {})
        if not isinstance(options, Mapping):
            self._problem(f"{place}.OPTIONS", "expected a dict", options)
            return None
        return node["ENGINE"], dict(options)

    def _route(self, node: Any, place: str, path: str) -> dict[str, Any] | None:
        read = self._read(node, place)
        if read is None:
            return None
        engine, options = read
        self.places[path] = place
        if engine in (_ROUTER, _ASYNC_ROUTER, _BUS_ROUTER):
            return self._router(engine, options, place, path)
        if engine == _LOGGER:
            return self._logger(options, place)
        remote = {_MONGO: self._mongo, _SEGMENT: self._segment}.get(engine)
        if remote is None:
            return self._site("legacy", engine, options, place)
        return self._off_the_request(remote(options, place), place, path)

    def _processor(self, node: Any, place: str) -> dict[str, Any] | None:
        read = self._read(node, place)
        if read is None:
            return None
        engine, options = read
        native = {_REGEX: self._regex, _WHITELIST: self._whitelist}.get(engine)
        if native is not None:
            return native(options, place)
        self._note(notes.FAIL_CLOSED, place)
        return self._site("legacy_processor", engine, options, place)

    # Routers

    def _router(
        self, engine: str, options: dict[str, Any], place: str, path: str
    ) -> dict[str, Any] | None:
        is_bus = engine == _BUS_ROUTER
        # The processors of a router to the event bus work on events from there.
        inner = self._inside_bus(path) if is_bus else path
        chain = self.chain(options.pop("processors", None), f"{place}.OPTIONS.processors", inner)
        before = self._off_request
        self._off_request = before or engine == _ASYNC_ROUTER
        children = self.routes(options.pop("backends", None), f"{place}.OPTIONS.backends", inner)
        self._off_request = before
        options.pop("backend_name", None)
        self._leave_out(options, place)
        group = {**({"processors": chain} if chain else {}), "backends": children}
        if is_bus:
            return self._off_the_request(self._bus(group, place, path), place, path)
        if engine == _ASYNC_ROUTER:
            self._note(notes.CELERY, place)
        if not children:
            self._note(notes.NO_CHILDREN, place)
            return None
        return {**(self._celery_node() if engine == _ASYNC_ROUTER else {}), **group}

    def _inside_bus(self, path: str) -> str:
        buffered = "" if self._off_request else ".backends.event_bus_router"
        return f"{path}{buffered}.backends.{path.rpartition('.')[2]}"

    def _bus(self, group: dict[str, Any], place: str, path: str) -> dict[str, Any]:
        self._note(notes.EVENT_BUS, place)
        allowed = [{"plugin": "event_bus_settings"}]
        plugin = "event_bus_router" if group["backends"] else "event_bus"
        where = path if self._off_request else f"{path}.backends.{plugin}"
        self.places[f"{where}.processors[0]"] = place  # a filter of ours: the router stands for it
        if not group["backends"]:
            return {"plugin": plugin, "processors": allowed}
        name = path.rpartition(".")[2]
        return {"plugin": plugin, "processors": allowed, "backends": {name: group}}

    def _off_the_request(self, node: dict[str, Any], place: str, path: str) -> dict[str, Any]:
        """Put a buffer in memory before a backend that talks to a network.

        Below Celery there is none: a worker acknowledges when it has delivered.
        """
        if self._off_request:
            return node
        self.places[f"{path}.backends.{node['plugin']}"] = place
        self._note(notes.BUFFER, place)
        return {"plugin": "buffer", "storage": "memory", "backends": {node["plugin"]: node}}

    def _celery_node(self) -> dict[str, Any]:
        queue = self._queue()
        return (
            {"plugin": "async_celery"}
            if queue is None
            else {"plugin": "async_celery", "queue": copied(queue)}
        )

    # The predecessor's own classes

    def _logger(self, options: dict[str, Any], place: str) -> dict[str, Any]:
        node: dict[str, Any] = {
            "plugin": "logger",
            "name": copied(options.pop("name", None) or ""),
        }
        if options.get("level") is not None:
            level = options["level"]
            level = level.lower() if isinstance(level, str) else level
            node["level"] = copied(_LEVELS.get(level, level) if isinstance(level, str) else level)
        options.pop("level", None)
        limit = options.pop("max_event_size", None)
        if limit is None:
            self._note(notes.LOGGER_LIMIT, place)
        else:
            node["max_event_bytes"] = limit
        self._leave_out(options, place)
        return node

    def _mongo(self, options: dict[str, Any], place: str) -> dict[str, Any]:
        keys = ("host", "port", "user", "password", "database", "collection")
        node = {
            "plugin": "mongo",
            **{key: options.pop(key) for key in keys if options.get(key) is not None},
        }
        extra = self._extra(options.pop("extra", None), place)
        if extra.pop("w", 0) in (0, None):
            self._note(notes.MONGO_WRITES, place)
        extra.pop("tz_aware", None)
        self._note(notes.MONGO_SHAPE, place)
        for old, new in (
            ("username", "user"),
            ("password", "password"),
        ):  # these are the ones that authenticated
            if extra.get(old) is not None:
                node[new] = extra[old]
            extra.pop(old, None)
        if extra:
            node["extra"] = extra
        self._leave_out({key: value for key, value in options.items() if key not in keys}, place)
        return {key: copied(as_list(value)) for key, value in with_uri(node).items()}

    def _extra(self, extra: Any, place: str) -> dict[str, Any]:
        if extra is None or isinstance(extra, Mapping):
            return dict(extra or {})
        self._problem(
            f"{place}.OPTIONS.extra", "expected a dict with options of pymongo's MongoClient", extra
        )
        return {}

    def _segment(self, options: dict[str, Any], place: str) -> dict[str, Any]:
        self._note(notes.SEGMENT, place)
        self._leave_out(options, place)
        return {"plugin": "segment"}

    def _regex(self, options: dict[str, Any], place: str) -> dict[str, Any]:
        node = {
            "plugin": "regex_filter",
            "filter_type": options.pop("filter_type", "allowlist"),
            "regular_expressions": as_patterns(options.pop("regular_expressions", None) or []),
        }
        self._note(notes.PREFIX, place)
        self._leave_out(options, place)
        return {key: copied(value) for key, value in node.items()}

    def _whitelist(self, options: dict[str, Any], place: str) -> dict[str, Any]:
        names = as_names(options.pop("whitelist", None))
        if not isinstance(names, list):
            self._problem(f"{place}.OPTIONS.whitelist", "expected a collection of names", names)
        elif not names:
            self._note(notes.EMPTY_WHITELIST, place)
        self._leave_out(options, place)
        return {"plugin": "name_filter", "names": copied(names)}

    def _site(
        self, plugin: str, engine: str, options: dict[str, Any], place: str
    ) -> dict[str, Any]:
        node: dict[str, Any] = {"plugin": plugin, "engine": engine}
        if options:
            node["options"] = copied(options) if self._plain else Verbatim(options)
        if self._plain and has_tuple(options):
            self._note(notes.TUPLES, place)
        return node

    def _leave_out(self, options: Mapping[str, Any], place: str) -> None:
        for key in options:
            self._note(notes.UNKNOWN_OPTION, f"{place}.OPTIONS.{key}")
