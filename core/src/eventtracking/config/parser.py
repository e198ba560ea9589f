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
"""How alike a name and that of a plugin are if one is meant for the other; `name_filter` is not
meant for `regex_filter`.
"""
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
        config: The mapping; what `load_file` returned has its `${VAR}` substituted here.
        plugins: Where the plugins come from; by default, what is installed.
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


def _is_of_a_branch(problem: Problem) -> bool:
    return problem.path.startswith(("backends.", "observers["))


def _no_mapping(config: object) -> Problem:
    is_path = isinstance(config, str | os.PathLike)
    return Problem(
        path="",
        message="expected a mapping",
        found=f"a {type(config).__name__}",
        hint="read a file with eventtracking.configure(path)" if is_path else None,
    )


class _Parser:
    """One reading of one config. Problems are collected; what is wrong is left out of the spec."""

    def __init__(self, plugins: Plugins, partly: bool, known: Sequence[Problem]) -> None:
        self._plugins = plugins
        self._partly = partly
        self._owned: dict[str, str] = {}
        """What one node has for itself alone, and the place where it says so."""
        self._values: Values = {}
        self.problems: list[Problem] = list(known)
        self._before: dict[str, str] = {}
        """The problems that were found before the routes were read, by path, and their routes."""
        self._broken: frozenset[str] = frozenset()
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
        self._broken = frozenset(self._before.values())
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
            self.problems.append(Problem(path=path, message=message, found=found, hint=hint))

    def _table(self, node: Node, key: str) -> Node:
        found = node.child(key, {})
        if isinstance(found.value, Mapping):
            return found
        self._problem(found.path, "expected a table", found=found.shown)
        return Node({}, {}, found.path)

    def _flag(self, node: Node, key: str) -> bool:
        found = node.child(key, False)
        if not isinstance(found.value, bool):
            self._problem(found.path, "expected true or false", found=found.shown)
        return found.value is True

    def _value_forms(self, root: Node) -> Values:
        """Return the plain forms of values that the named plugins have registered."""
        for name in self._items(root, "values", self._value_plugin, "names of plugins"):
            self._values = {**self._values, **self._plugins.values_of(name)}
        return self._values

    def _value_plugin(self, node: Node) -> str | None:
        if not isinstance(node.value, str):
            self._problem(node.path, "expected the name of a plugin", found=node.shown)
            return None
        if self._ask(node, "plugin", self._plugins.values_of) is not None:
            return node.value
        return None

    def _routes(self, node: Node, route: str) -> tuple[RouteSpec, ...]:
        children = self._table(node, "backends").children()
        found = [
            self._route(child, f"{route}/{name}".lstrip("/"), name) for name, child in children
        ]
        return tuple(spec for spec in found if spec is not None)

    def _route(self, node: Node, route: str, name: Any) -> RouteSpec | None:
        if not isinstance(name, str) or not name or "/" in name:
            text = "the name of a route must be text without `/`"
            self._problem(node.path, text, found=show(name))
            return None
        since, below = self._since, self._below
        self._since, self._below = len(self.problems), 0
        spec = self._sound_route(node, route)
        found = len(self.problems) - self._since
        is_broken = found > self._below or node.path in self._broken
        self._since, self._below = since, below + found
        return stand_in(node.path, route) if self._partly and (spec is None or is_broken) else spec

    def _sound_route(self, node: Node, route: str) -> RouteSpec | None:
        if not isinstance(node.value, Mapping):
            text = "expected a table with `plugin` or `backends`"
            self._problem(node.path, text, found=node.shown)
            return None
        plugin = self._plugin(node, "backend")
        if "on_error" in node.value:
            self._problem(f"{node.path}.on_error", "only a processor takes on_error")
        processors = self._items(node, "processors", self._processor)
        children = self._routes(node, route)
        self._check_shape(node, plugin)
        instance = self._instance(plugin, node) if plugin is not None else None
        return RouteSpec(
            path=node.path,
            route=route,
            plugin=plugin,
            options=_options(node.original),
            processors=processors,
            children=children,
            instance=instance,
        )

    def _check_shape(self, node: Node, plugin: Plugin | None) -> None:
        """Whether the node has children exactly if it may."""
        path = node.path
        has_children = bool(node.value.get("backends"))
        if "plugin" not in node.value:
            if not has_children:
                self._problem(
                    path,
                    "a route needs `plugin`, the name of a backend, or `backends`, to be a group",
                )
            for key in _options(node.value):
                self._problem(
                    f"{path}.{key}", "a group without `plugin` takes only processors and backends"
                )
        elif plugin is not None and plugin.kind == "router" and not has_children:
            self._problem(
                f"{path}.backends", f"the router {plugin.name} needs at least one backend below it"
            )
        elif plugin is not None and plugin.kind == "backend" and "backends" in node.value:
            self._problem(
                f"{path}.backends",
                f"{plugin.name} is a backend, not a router, and takes no backends below it",
            )

    def _items(
        self,
        node: Node,
        key: str,
        read: Callable[[Node], _Item | None],
        of: str = "tables",
    ) -> tuple[_Item, ...]:
        """Read a list."""
        items = node.child(key, ())
        if not isinstance(items.value, Sequence) or isinstance(items.value, str):
            hint = f"in TOML: [[{items.path}]]" if isinstance(items.value, Mapping) else None
            self._problem(items.path, f"expected a list of {of}", found=items.shown, hint=hint)
            return ()
        found = [read(item) for item in items.members()]
        return tuple(spec for spec in found if spec is not None)

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
            self._problem(node.path, text, found=node.shown)
            return None
        for key in taken_by_routes:
            if key in node.value:
                self._problem(f"{node.path}.{key}", f"{_a(role)} takes no {key}")
        on_error = node.child("on_error", "drop")
        if role == "processor" and on_error.value not in _ON_ERROR:
            self._problem(on_error.path, 'expected "drop" or "pass"', found=on_error.shown)
        return self._plugin(node, role)

    def _instance(self, plugin: Plugin, node: Node) -> Any:
        path = node.path
        given, originals = _options(node.value), _options(node.original)
        elsewhere = (f"{path}.backends.", f"{path}.processors[")
        mine = [place for place, owner in self._before.items() if len(owner) <= len(path)]
        mine += [problem.path for problem in self.problems[self._since :]]
        known = [at for at in mine if at.startswith(f"{path}.") and not at.startswith(elsewhere)]
        options, problems = read_options(
            plugin.plugin_class, given, path, plugin.name, originals, known
        )
        instance, more = build(
            plugin.plugin_class, options, path, originals, partly=bool(problems or known)
        )
        self.problems += [*problems, *(more or self._conflicts(instance, path))]
        return instance

    def _conflicts(self, instance: Any, path: str) -> list[Problem]:
        """What a plugin wants for itself alone, and another node of the config has."""
        found = []
        try:
            wanted = dict(instance.exclusive()) if hasattr(instance, "exclusive") else {}
        except Exception as error:  # noqa: BLE001 - whatever a plugin's class raises is a problem of the config
            text = (
                f"{type(instance).__qualname__}.exclusive() raised {type(error).__name__}; it must"
                " return a mapping by option"
            )
            return [Problem(path=path, message=text)]
        for option, thing in wanted.items():
            place = join(path, option)
            owner = self._owned.setdefault(thing, place)
            if owner != place:
                text = "it is that of another node already, and must be its own"
                hint = f"give it one that {owner} does not have"
                found.append(Problem(path=place, message=text, hint=hint))
        return found

    def _plugin(self, node: Node, role: str) -> Plugin | None:
        if "plugin" not in node.value:
            return None
        name = node.child("plugin", None)
        if not isinstance(name.value, str):
            self._problem(name.path, f"expected the name of {_a(role)}", found=name.shown)
            return None
        plugin: Plugin | None = self._ask(name, role, self._plugins.load)
        if plugin is None:
            return None
        if plugin.kind not in _NEEDS[role]:
            text = f"expected {_a(role)}, and {name.value!r} is {_a(plugin.kind)}"
            self._problem(name.path, text, found=name.shown)
            return None
        self._values = {**self._values, **(self._ask(name, role, self._plugins.values_of) or {})}
        return plugin

    def _ask(self, name: Node, role: str, question: Callable[[str], Any]) -> Any:
        """Ask the plugins about a name; None if there is no answer but a problem."""
        try:
            return question(name.value)
        except UnknownPluginError:
            self.problems.append(_unknown(name.value, name.shown, name.path, role, self._plugins))
        except ClashingPluginError as error:
            self._problem(name.path, str(error), name.shown, hint="uninstall one of them")
        except BrokenPluginError as error:
            self._problem(
                name.path,
                f"installed but broken: {error}",
                found=name.shown,
                hint="repair or upgrade that distribution",
            )
        return None


def _options(node: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in node.items() if key not in RESERVED_KEYS}


def _a(role: str) -> str:
    return f"an {role}" if role == "observer" else f"a {role}"


def _unknown(name: str, found: str, path: str, role: str, plugins: Plugins) -> Problem:
    """Say that there is no plugin of a name; the name itself may have come from a variable, and be
    secret.
    """
    known = f"installed plugins are {', '.join(plugins.names) or 'none'}"
    near = did_you_mean(name, plugins.names, _NEAR)
    if found != show(name):
        return Problem(
            path=path,
            message=f"unknown {role}; {known}",
            found=found,
            hint="look at the variable's value",
        )
    if near is not None:
        message, hint = f"unknown {role}; {known}", near
    elif not name.replace("_", "").isalnum():
        message, hint = (
            f"unknown {role}; {known}",
            "a plugin is called by its name, never by an import path or a class",
        )
    else:
        message = f"the {role} is not installed; {known}"
        hint = (
            f"pip install eventtracking-{name.replace('_', '-')} if it is one of eventtracking's;"
            " if it is your own, see that its distribution is installed and has an entry point"
            f" {name!r} in the group {GROUP!r}"
        )
    return Problem(path=path, message=message, found=found, hint=hint)
