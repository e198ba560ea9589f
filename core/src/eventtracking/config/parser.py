"""The routing config: read, checked as a whole, and turned into a tree of specs that name their
plugins.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final, TypeVar

from eventtracking._data.snapshot import Values
from eventtracking.config.discovery import (
    RESERVED_KEYS,
    BrokenPluginError,
    ClashingPluginError,
    Plugin,
    Plugins,
    UnknownPluginError,
    installed_plugins,
)
from eventtracking.config.files import FileConfig, too_deep
from eventtracking.config.node import Node, place_of
from eventtracking.config.reading import build, read_options
from eventtracking.config.specs import ObserverSpec, ProcessorSpec, RouteSpec, Spec, stand_in
from eventtracking.config.substitute import references_in, substitute
from eventtracking.config.words import did_you_mean, is_at, join, show
from eventtracking.errors import ConfigError, Problem
from eventtracking.hookspecs import GROUP

__all__ = ["parse"]

_TOP_KEYS: Final = ("processors", "backends", "observers", "values", "context", "strict")
_NEAR: Final = 0.75
"""Likeness of a mistyped plugin name; `name_filter` is not meant for `regex_filter`."""
_NEEDS: Final = {
    "backend": ("backend", "router"),
    "processor": ("processor",),
    "observer": ("observer",),
}
_ON_ERROR: Final = ("drop", "pass")
_Item = TypeVar("_Item")


def parse(
    config: Mapping[str, Any],
    plugins: Plugins | None = None,
    *,
    partly: bool = False,
    known: Sequence[Problem] = (),
) -> Spec:
    """Check a whole config and build what it names. Nothing is opened.

    Args:
        config: The mapping; one that `load_file` returned has its `${VAR}` substituted here.
        plugins: Where the plugins come from; by default, those installed.
        partly: Whether a stand-in takes the place of a broken route, and the spec's `problems`
            tell of it. A problem of the whole raises all the same.
        known: Problems that were found before, whose routes are broken, too.

    Raises:
        ConfigError: With every problem that was found.
    """
    if not isinstance(config, Mapping):
        raise ConfigError([_no_mapping(config)])
    parser = _Parser(plugins or installed_plugins(), partly, known)
    try:
        spec = parser.read(config)
    except RecursionError:
        raise ConfigError([too_deep("")]) from None
    if parser.problems and not (partly and all(map(_is_of_a_branch, parser.problems))):
        raise ConfigError(parser.problems)
    return spec


def _no_mapping(config: object) -> Problem:
    is_path = isinstance(config, str | os.PathLike)
    hint = "read a file with eventtracking.configure(path)" if is_path else None
    return Problem("", "expected a mapping", f"a {type(config).__name__}", hint)


def _is_of_a_branch(problem: Problem) -> bool:
    return problem.path.startswith(("backends.", "observers["))


class _Parser:
    """One reading of one config. Problems are collected; a wrong part is left out of the spec."""

    def __init__(self, plugins: Plugins, partly: bool, known: Sequence[Problem]) -> None:
        self._plugins = plugins
        self._partly = partly
        self._owned: dict[str, str] = {}
        """The things that one node has for itself alone, and the place where it says so."""
        self._values: Values = {}
        self.problems: list[Problem] = list(known)
        self._before: dict[str, str] = {}
        """The problems that were found before the routes were read, by path, and their routes."""
        self._since = 0
        """The first problem of the route that is read, and of the routes below it."""
        self._below = 0
        """Problems of the routes below it."""

    def read(self, config: Mapping[str, Any]) -> Spec:
        if isinstance(config, FileConfig):
            values = substitute(config, os.environ, "", self.problems)
        else:
            values = config
            self.problems += references_in(config, "")
        root = Node(values, config, "")
        places = list(root.places())
        self._before = {one.path: place_of(one.path, places) for one in self.problems}
        for key in config:
            if key not in _TOP_KEYS:
                text = f"unknown key; accepted are {', '.join(_TOP_KEYS)}"
                self._problem(str(key), text, hint=did_you_mean(key, _TOP_KEYS))
        return Spec(
            processors=self._items(root, "processors", self._processor),
            routes=self._routes(root, ""),
            context=dict(self._table(root, "context").value),
            strict=self._flag(root, "strict"),
            observers=self._items(root, "observers", self._observer),
            values=self._value_forms(root),
            problems=tuple(self.problems),
        )

    def _problem(
        self, path: str, message: str, found: str | None = None, hint: str | None = None
    ) -> None:
        if all(problem.path != path for problem in self.problems):  # one for each place
            self.problems.append(Problem(path, message, found, hint))

    def _table(self, node: Node, key: str) -> Node:
        found = node.child(key, {})
        if isinstance(found.value, Mapping):
            return found
        self._problem(found.path, "expected a table", found.shown)
        return Node({}, {}, found.path)

    def _flag(self, node: Node, key: str) -> bool:
        found = node.child(key, False)
        if not isinstance(found.value, bool):
            self._problem(found.path, "expected true or false", found.shown)
        return found.value is True

    def _items(
        self, node: Node, key: str, read: Callable[[Node], _Item | None], of: str = "tables"
    ) -> tuple[_Item, ...]:
        """Read a list."""
        items = node.child(key, ())
        if not isinstance(items.value, Sequence) or isinstance(items.value, str):
            hint = f"in TOML: [[{items.path}]]" if isinstance(items.value, Mapping) else None
            self._problem(items.path, f"expected a list of {of}", items.shown, hint)
            return ()
        found = [read(item) for item in items.members()]
        return tuple(item for item in found if item is not None)

    def _value_forms(self, root: Node) -> Values:
        """Return the plain forms of values that the named plugins have registered."""
        for values in self._items(root, "values", self._values_of, "names of plugins"):
            self._values = {**self._values, **values}
        return self._values

    def _values_of(self, name: Node) -> Values | None:
        if isinstance(name.value, str):
            found: Values | None = self._ask(name, "plugin", self._plugins.values_of)
            return found
        self._problem(name.path, "expected the name of a plugin", name.shown)
        return None

    # Routes

    def _routes(self, node: Node, route: str) -> tuple[RouteSpec, ...]:
        children = self._table(node, "backends").children()
        found = [
            self._route(child, f"{route}/{name}".lstrip("/"), name) for name, child in children
        ]
        return tuple(spec for spec in found if spec is not None)

    def _route(self, node: Node, route: str, name: Any) -> RouteSpec | None:
        if not isinstance(name, str) or not name or "/" in name:
            self._problem(node.path, "the name of a route must be text without `/`", show(name))
            return None
        since, below = self._since, self._below
        self._since, self._below = len(self.problems), 0
        spec = self._sound_route(node, route)
        found = len(self.problems) - self._since
        is_broken = spec is None or found > self._below or node.path in self._before.values()
        self._since, self._below = since, below + found
        return stand_in(node.path, route) if self._partly and is_broken else spec

    def _sound_route(self, node: Node, route: str) -> RouteSpec | None:
        if not isinstance(node.value, Mapping):
            found = f"a value of type {type(node.value).__name__}"  # its key may be `password`
            self._problem(node.path, "expected a table with `plugin` or `backends`", found)
            return None
        plugin = self._plugin(node, "backend")
        if "on_error" in node.value:
            self._problem(f"{node.path}.on_error", "only a processor takes on_error")
        processors = self._items(node, "processors", self._processor)
        children = self._routes(node, route)
        self._check_shape(node, plugin)
        return RouteSpec(
            path=node.path,
            route=route,
            plugin=plugin,
            options=_options(node.original),
            processors=processors,
            children=children,
            instance=None if plugin is None else self._instance(plugin, node),
        )

    def _check_shape(self, node: Node, plugin: Plugin | None) -> None:
        """Report a node that has children and may not, or has none and must."""
        kind = "" if plugin is None else plugin.kind
        has_children = bool(node.value.get("backends"))
        if "plugin" not in node.value:
            if not has_children:
                text = "a route needs `plugin`, the name of a backend, or `backends`, to be a group"
                self._problem(node.path, text)
            for key in _options(node.value):
                text = "a group without `plugin` takes only processors and backends"
                self._problem(f"{node.path}.{key}", text)
        elif plugin is not None and kind == "router" and not has_children:
            text = f"the router {plugin.name} needs at least one backend below it"
            self._problem(f"{node.path}.backends", text)
        elif plugin is not None and kind == "backend" and "backends" in node.value:
            text = f"{plugin.name} is a backend, not a router, and takes no backends below it"
            self._problem(f"{node.path}.backends", text)

    # Processors and observers

    def _observer(self, node: Node) -> ObserverSpec | None:
        plugin = self._named(node, "observer", ("processors", "backends", "on_error"))
        if plugin is None:
            return None
        instance = self._instance(plugin, node)
        if any(is_at(problem.path, node.path) for problem in self.problems):
            return None
        options = _options(node.original)
        return ObserverSpec(path=node.path, plugin=plugin, options=options, instance=instance)

    def _processor(self, node: Node) -> ProcessorSpec | None:
        plugin = self._named(node, "processor", ("processors", "backends"))
        if plugin is None:
            return None
        return ProcessorSpec(
            path=node.path,
            plugin=plugin,
            options=_options(node.original),
            on_error=node.value.get("on_error", "drop"),
            instance=self._instance(plugin, node),
        )

    def _named(self, node: Node, role: str, taken_by_routes: Collection[str]) -> Plugin | None:
        """Return the plugin of a processor or an observer."""
        if not isinstance(node.value, Mapping) or "plugin" not in node.value:
            text = f"expected a table with `plugin`, the name of {_a(role)}"
            self._problem(node.path, text, node.shown)
            return None
        for key in taken_by_routes:
            if key in node.value:
                self._problem(f"{node.path}.{key}", f"{_a(role)} takes no {key}")
        on_error = node.child("on_error", "drop")
        if role == "processor" and on_error.value not in _ON_ERROR:
            self._problem(on_error.path, 'expected "drop" or "pass"', on_error.shown)
        return self._plugin(node, role)

    # Plugins

    def _instance(self, plugin: Plugin, node: Node) -> Any:
        path, kind = node.path, plugin.plugin_class
        options = Node(_options(node.value), _options(node.original), path)
        elsewhere = (f"{path}.backends.", f"{path}.processors[")
        mine = [place for place, owner in self._before.items() if len(owner) <= len(path)]
        mine += [problem.path for problem in self.problems[self._since :]]
        known = [at for at in mine if at.startswith(f"{path}.") and not at.startswith(elsewhere)]
        converted, problems = read_options(kind, options, plugin.name, known)
        instance, more = build(kind, converted, options, partly=bool(problems or known))
        self.problems += [*problems, *(more or self._conflicts(instance, path))]
        return instance

    def _conflicts(self, instance: Any, path: str) -> list[Problem]:
        """Report each thing that a plugin wants for itself alone, and another node has."""
        found = []
        try:
            wanted = dict(instance.exclusive()) if hasattr(instance, "exclusive") else {}
        except Exception as error:  # noqa: BLE001 - a plugin's class may raise any; it is a problem of the config
            call = f"{type(instance).__qualname__}.exclusive() raised {type(error).__name__}"
            return [Problem(path, f"{call}; it must return a mapping by option")]
        for option, thing in wanted.items():
            place = join(path, option)
            owner = self._owned.setdefault(thing, place)
            if owner != place:
                text = "it is that of another node already, and must be its own"
                found.append(Problem(place, text, hint=f"give it one that {owner} does not have"))
        return found

    def _plugin(self, node: Node, role: str) -> Plugin | None:
        if "plugin" not in node.value:
            return None
        name = node.child("plugin", None)
        if not isinstance(name.value, str):
            self._problem(name.path, f"expected the name of {_a(role)}", name.shown)
            return None
        plugin: Plugin | None = self._ask(name, role, self._plugins.load)
        if plugin is None:
            return None
        if plugin.kind not in _NEEDS[role]:
            text = f"expected {_a(role)}, and {name.value!r} is {_a(plugin.kind)}"
            self._problem(name.path, text, name.shown)
            return None
        self._values = {**self._values, **(self._ask(name, role, self._plugins.values_of) or {})}
        return plugin

    def _ask(self, name: Node, role: str, question: Callable[[str], Any]) -> Any:
        """Ask the plugins about a name; None if there is no answer but a problem."""
        try:
            return question(name.value)
        except UnknownPluginError:
            self.problems.append(_unknown(name, role, self._plugins))
        except ClashingPluginError as error:
            self._problem(name.path, str(error), name.shown, "uninstall one of them")
        except BrokenPluginError as error:
            text = f"installed but broken: {error}"
            self._problem(name.path, text, name.shown, "repair or upgrade that distribution")
        return None


def _options(node: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in node.items() if key not in RESERVED_KEYS}


def _a(role: str) -> str:
    return f"an {role}" if role == "observer" else f"a {role}"


def _unknown(name: Node, role: str, plugins: Plugins) -> Problem:
    """Say that there is no plugin of a name, which may be secret: it may come from a variable."""
    text: str = name.value
    known = f"installed plugins are {', '.join(plugins.names) or 'none'}"
    message = f"unknown {role}; {known}"
    near = did_you_mean(text, plugins.names, _NEAR)
    if name.is_substituted:
        hint = "look at the variable's value"
    elif near is not None:
        hint = near
    elif not text.replace("_", "").isalnum():
        hint = "a plugin is called by its name, never by an import path or a class"
    else:
        message = f"the {role} is not installed; {known}"
        hint = (
            f"pip install eventtracking-{text.replace('_', '-')} if it is one of eventtracking's;"
            " if it is your own, see that its distribution is installed and has an entry point"
            f" {text!r} in the group {GROUP!r}"
        )
    return Problem(name.path, message, name.shown, hint)
