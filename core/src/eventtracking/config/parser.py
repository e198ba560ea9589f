"""The routing config: read, checked as a whole, and turned into a tree of specs that name their
plugins.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from eventtracking.config.discovery import (
    RESERVED_KEYS,
    BrokenPluginError,
    Plugin,
    Plugins,
    UnknownPluginError,
    installed_plugins,
)
from eventtracking.config.options import build, did_you_mean, read_options, show
from eventtracking.config.specs import ObserverSpec, ProcessorSpec, RouteSpec, Spec
from eventtracking.config.substitute import substitute
from eventtracking.errors import ConfigError, Problem
from eventtracking.hookspecs import GROUP

__all__ = ["advice", "load_file", "parse"]

_TOP_KEYS: Final = ("processors", "backends", "observers", "context", "strict")
_NEAR: Final = 0.75
"""How alike a name and that of a plugin are if one is meant for the other; `name_filter` is not
meant for `regex_filter`.
"""
_NEEDS: Final = {
    "backend": ("backend", "router"),
    "processor": ("processor",),
    "observer": ("observer",),
}
_Item = TypeVar("_Item")


def _parse(text: str, suffix: str) -> Any:
    """Parse a config; the parsers are imported here, because most applications have theirs in
    Python.
    """
    if suffix == ".json":
        import json

        return json.loads(text)
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    return tomllib.loads(text)


def load_file(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a config file, TOML or (if its name ends in `.json`) JSON.

    Raises:
        ConfigError: If it cannot be read or parsed.
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8-sig")  # some editors put a mark at the beginning
        config = _parse(text, file.suffix)
    except OSError as error:
        raise ConfigError(
            [Problem(path=str(file), message=f"cannot be read: {error.strerror}")]
        ) from error
    except ValueError as error:
        raise ConfigError(
            [Problem(path=str(file), message=f"cannot be parsed: {error}")]
        ) from error
    except RecursionError:
        raise ConfigError([_too_deep(str(file))]) from None
    if not isinstance(config, dict):
        raise ConfigError(
            [
                Problem(
                    path=str(file), message="expected a table", found=f"a {type(config).__name__}"
                )
            ]
        )
    return config


def parse(config: Mapping[str, Any], plugins: Plugins | None = None) -> Spec:
    """Check a whole config and build what it names. Nothing is opened.

    Args:
        config: The mapping, as it was parsed; `${VAR}` is substituted here.
        plugins: Where the plugins come from; by default, what is installed.

    Raises:
        ConfigError: With every problem that was found.
    """
    if not isinstance(config, Mapping):
        raise ConfigError([_no_mapping(config)])
    parser = _Parser(plugins or installed_plugins())
    try:
        spec = parser.read(config)
    except RecursionError:
        raise ConfigError([_too_deep("")]) from None
    if parser.problems:
        raise ConfigError(parser.problems)
    return spec


def _too_deep(path: str) -> Problem:
    return Problem(
        path=path,
        message="nested too deeply: more levels than Python's stack has room for, or a cycle",
    )


def _no_mapping(config: object) -> Problem:
    hint = (
        "read a file with eventtracking.configure(path)"
        if isinstance(config, str | os.PathLike)
        else None
    )
    return Problem(
        path="", message="expected a mapping", found=f"a {type(config).__name__}", hint=hint
    )


class _Parser:
    """One reading of one config. Problems are collected; what is wrong is left out of the spec."""

    def __init__(self, plugins: Plugins) -> None:
        self._plugins = plugins
        self._owned: dict[str, str] = {}
        """What one node has for itself alone, and the place where it says so."""
        self.problems: list[Problem] = [
            _clash(name, found) for name, found in plugins.clashes().items()
        ]

    def read(self, config: Mapping[str, Any]) -> Spec:
        values = substitute(config, os.environ, "", self.problems)
        for key in config:
            if key not in _TOP_KEYS:
                self._problem(
                    str(key),
                    f"unknown key; accepted are {', '.join(_TOP_KEYS)}",
                    hint=did_you_mean(key, _TOP_KEYS),
                )
        return Spec(
            processors=self._processors(values, config, ""),
            routes=self._routes(values, config, "", ""),
            context=dict(self._table(values, config, "context", "")),
            strict=self._flag(values, config, "strict"),
            observers=self._items(values, config, "observers", "", self._observer),
        )

    def _problem(
        self, path: str, message: str, found: str | None = None, hint: str | None = None
    ) -> None:
        self.problems.append(Problem(path=path, message=message, found=found, hint=hint))

    def _table(
        self, node: Mapping[str, Any], original: Mapping[str, Any], key: str, path: str
    ) -> Mapping[str, Any]:
        value = node.get(key, {})
        if isinstance(value, Mapping):
            return value
        self._problem(_join(path, key), "expected a table", found=show(original[key]))
        return {}

    def _flag(self, node: Mapping[str, Any], original: Mapping[str, Any], key: str) -> bool:
        value = node.get(key, False)
        if not isinstance(value, bool):
            self._problem(key, "expected true or false", found=show(original[key]))
        return value is True

    def _routes(
        self, node: Mapping[str, Any], original: Mapping[str, Any], path: str, route: str
    ) -> tuple[RouteSpec, ...]:
        children = self._table(node, original, "backends", path)
        originals = original.get("backends", {})
        found = [
            self._route(
                child,
                originals[name],
                f"{_join(path, 'backends')}.{name}",
                f"{route}/{name}".lstrip("/"),
                name,
            )
            for name, child in children.items()
        ]
        return tuple(spec for spec in found if spec is not None)

    def _route(
        self, node: Any, original: Any, path: str, route: str, name: Any
    ) -> RouteSpec | None:
        if not isinstance(name, str) or not name or "/" in name:
            self._problem(path, "the name of a route must be text without `/`", found=show(name))
        if not isinstance(node, Mapping):
            self._problem(
                path, "expected a table with `plugin` or `backends`", found=show(original)
            )
            return None
        plugin = self._plugin(node, original, path, "backend")
        if "on_error" in node:
            self._problem(f"{path}.on_error", "only a processor takes on_error")
        processors = self._processors(node, original, path)
        children = self._routes(node, original, path, route)
        self._check_shape(node, plugin, path)
        options = _options(original)
        instance = self._instance(plugin, node, original, path) if plugin is not None else None
        return RouteSpec(
            path=path,
            route=route,
            plugin=plugin,
            options=options,
            processors=processors,
            children=children,
            instance=instance,
        )

    def _check_shape(self, node: Mapping[str, Any], plugin: Plugin | None, path: str) -> None:
        """Whether the node has children exactly if it may."""
        has_children = bool(node.get("backends"))
        if "plugin" not in node:
            if not has_children:
                self._problem(
                    path,
                    "a route needs `plugin`, the name of a backend, or `backends`, to be a group",
                )
            for key in _options(node):
                self._problem(
                    f"{path}.{key}", "a group without `plugin` takes only processors and backends"
                )
        elif plugin is not None and plugin.kind == "router" and not has_children:
            self._problem(
                f"{path}.backends", f"the router {plugin.name} needs at least one backend below it"
            )
        elif plugin is not None and plugin.kind == "backend" and "backends" in node:
            self._problem(
                f"{path}.backends",
                f"{plugin.name} is a backend, not a router, and takes no backends below it",
            )

    def _processors(
        self, node: Mapping[str, Any], original: Mapping[str, Any], path: str
    ) -> tuple[ProcessorSpec, ...]:
        return self._items(node, original, "processors", path, self._processor)

    def _items(
        self,
        node: Mapping[str, Any],
        original: Mapping[str, Any],
        key: str,
        path: str,
        read: Callable[[Any, Any, str], _Item | None],
    ) -> tuple[_Item, ...]:
        """Read a list of tables."""
        items = node.get(key, ())
        place = _join(path, key)
        if not isinstance(items, Sequence) or isinstance(items, str):
            hint = f"in TOML: [[{place}]]" if isinstance(items, Mapping) else None
            self._problem(
                place, "expected a list of tables", found=show(original.get(key)), hint=hint
            )
            return ()
        originals = list(original.get(key, ()))
        found = [
            read(item, originals[index], f"{place}[{index}]") for index, item in enumerate(items)
        ]
        return tuple(spec for spec in found if spec is not None)

    def _observer(self, node: Any, original: Any, path: str) -> ObserverSpec | None:
        if not self._names_plugin(node, original, path, "observer"):
            return None
        for key in ("processors", "backends", "on_error"):
            if key in node:
                self._problem(f"{path}.{key}", f"an observer takes no {key}")
        plugin = self._plugin(node, original, path, "observer")
        if plugin is None:
            return None
        instance = self._instance(plugin, node, original, path)
        return ObserverSpec(path=path, plugin=plugin, options=_options(original), instance=instance)

    def _names_plugin(self, node: Any, original: Any, path: str, role: str) -> bool:
        if isinstance(node, Mapping) and "plugin" in node:
            return True
        self._problem(
            path, f"expected a table with `plugin`, the name of {_a(role)}", found=show(original)
        )
        return False

    def _processor(self, node: Any, original: Any, path: str) -> ProcessorSpec | None:
        if not self._names_plugin(node, original, path, "processor"):
            return None
        for key in ("processors", "backends"):
            if key in node:
                self._problem(f"{path}.{key}", f"a processor takes no {key}")
        on_error = node.get("on_error", "drop")
        if on_error not in ("drop", "pass"):
            self._problem(
                f"{path}.on_error", 'expected "drop" or "pass"', found=show(original["on_error"])
            )
        plugin = self._plugin(node, original, path, "processor")
        if plugin is None:
            return None
        instance = self._instance(plugin, node, original, path)
        return ProcessorSpec(
            path=path,
            plugin=plugin,
            options=_options(original),
            on_error=on_error,
            instance=instance,
        )

    def _instance(
        self, plugin: Plugin, node: Mapping[str, Any], original: Mapping[str, Any], path: str
    ) -> Any:
        given, originals = _options(node), _options(original)
        known = [problem.path for problem in self.problems if problem.path.startswith(f"{path}.")]
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
            place = _join(path, option)
            owner = self._owned.setdefault(thing, place)
            if owner != place:
                text = "it is that of another node already, and must be its own"
                found.append(
                    Problem(
                        path=place, message=text, hint=f"give it one that {owner} does not have"
                    )
                )
        return found

    def _plugin(
        self, node: Mapping[str, Any], original: Mapping[str, Any], path: str, role: str
    ) -> Plugin | None:
        if "plugin" not in node:
            return None
        name, place, found = node["plugin"], f"{path}.plugin", show(original["plugin"])
        if not isinstance(name, str):
            self._problem(place, f"expected the name of {_a(role)}", found=found)
            return None
        try:
            plugin = self._plugins.load(name)
        except UnknownPluginError:
            self.problems.append(_unknown(name, found, place, role, self._plugins))
        except BrokenPluginError as error:
            self._problem(
                place,
                f"installed but broken: {error}",
                found=found,
                hint="repair or upgrade that distribution",
            )
        else:
            if plugin.kind in _NEEDS[role]:
                return plugin
            self._problem(
                place, f"expected {_a(role)}, and {name!r} is {_a(plugin.kind)}", found=found
            )
        return None


def _options(node: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in node.items() if key not in RESERVED_KEYS}


def _a(role: str) -> str:
    return f"an {role}" if role == "observer" else f"a {role}"


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


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


def _clash(name: str, declarations: Sequence[Any]) -> Problem:
    claims = " and ".join(f"{found.distribution} {found.version}" for found in declarations)
    return Problem(
        path="plugins",
        message=f"the plugin name {name!r} is claimed by {claims}",
        hint="uninstall one of them",
    )


def advice(spec: Spec) -> list[Problem]:
    """What is allowed and likely a mistake, for `eventtracking check`."""
    if not spec.routes:
        return [
            Problem(path="backends", message="no backend is named, so that every event is filtered")
        ]
    return [problem for route in spec.routes for problem in _inline(route)]


def _inline(route: RouteSpec, above: str = "no router stands above it") -> Iterator[Problem]:
    """Warn of backends that need a router above them which holds events, and have none."""
    if route.plugin is not None and _defers(route.instance):
        return
    if route.plugin is not None and getattr(route.instance, "blocking", False):
        yield Problem(
            path=route.path,
            message=(
                f"{route.plugin.name} talks to a network, and {above}, so that each emit() waits"
                " for it"
            ),
            hint="put it below a buffer",
        )
    if route.plugin is not None and callable(getattr(route.instance, "tick", None)):
        yield Problem(
            path=route.path,
            message=f"{route.plugin.name} acts by time, and nothing calls its tick() here",
            hint="put it below a buffer",
        )
    if route.plugin is not None:
        above = "no router above it holds events"
    for child in route.children:
        yield from _inline(child, above)


def _defers(instance: Any) -> bool:
    """Whether `send` of a router returns before a child is called."""
    names = ("defers", "counted_by_core")
    return any(getattr(instance, name, False) for name in names)
