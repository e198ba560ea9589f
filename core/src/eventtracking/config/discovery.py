"""The plugins that are installed: found through entry points, and imported only when a config names
them.
"""

from __future__ import annotations

import inspect
import re
import sys
import threading
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Literal

import attrs
import importlib_metadata
import pluggy

from eventtracking import hookspecs
from eventtracking.config.options import options_of
from eventtracking.errors import PluginError

__all__ = [
    "RESERVED_KEYS",
    "BrokenPluginError",
    "Declaration",
    "Plugin",
    "Plugins",
    "UnknownPluginError",
    "installed_plugins",
]

Kind = Literal["backend", "router", "processor", "observer"]

RESERVED_KEYS: Final = frozenset({"plugin", "processors", "backends", "on_error"})
"""What a config's node says itself, so that no option may have these names."""
_LAZY: Final = (
    inspect.iscoroutinefunction,
    inspect.isgeneratorfunction,
    inspect.isasyncgenfunction,
)
"""Functions that do nothing when they are called."""
_OPTIONAL_METHODS: Final = (
    "accepts",
    "open",
    "flush",
    "close",
    "probe",
    "exclusive",
    "bind",
    "delivered",
)
_REGISTERING_HOOKS: Final = {
    "eventtracking_register_backends": "send",
    "eventtracking_register_processors": "__call__",
    "eventtracking_register_observers": "start",
}
"""Each hook that registers classes, and the method that they must have."""
_KINDS: Final[dict[str, Kind]] = {"send": "backend", "__call__": "processor", "start": "observer"}


class UnknownPluginError(PluginError):
    """Raised when no installed distribution declares a plugin of that name."""


class BrokenPluginError(PluginError):
    """Raised when an installed plugin cannot be imported, or does not keep the contract."""


@attrs.frozen(kw_only=True)
class Declaration:
    """What an entry point says of a plugin, read without importing it."""

    name: str
    module: str
    distribution: str
    version: str
    entry_point: importlib_metadata.EntryPoint = attrs.field(repr=False)


@attrs.frozen(kw_only=True, eq=False)
class Plugin:
    """A loaded plugin."""

    name: str
    kind: Kind
    plugin_class: type[Any]
    distribution: str
    version: str


def installed_plugins() -> Plugins:
    """Return the plugins that are installed now; read anew only when the import path has
    changed.
    """
    return _scan(tuple((entry, _changed_at(entry)) for entry in sys.path))


def _changed_at(entry: str) -> int:
    try:
        return Path(entry).stat().st_mtime_ns
    except OSError:
        return 0


@lru_cache(maxsize=4)
def _scan(_import_path: tuple[tuple[str, int], ...]) -> Plugins:
    return Plugins(list(_declarations()))


def _declarations() -> Iterator[Declaration]:
    seen = set()
    for distribution in importlib_metadata.distributions():
        name = _name_of(distribution)
        if (
            name is None or _normalized(name) in seen
        ):  # shadowed by an earlier folder of the import path, as its modules are
            continue
        seen.add(_normalized(name))
        for entry_point in distribution.entry_points.select(group=hookspecs.GROUP):
            yield Declaration(
                name=entry_point.name,
                module=entry_point.value,
                distribution=name,
                version=distribution.version or "",
                entry_point=entry_point,
            )


def _name_of(distribution: Any) -> str | None:
    """Read a name; None for what an interrupted installation has left behind, which is nobody's
    business here.
    """
    try:
        return distribution.metadata["Name"] or None
    except Exception:  # noqa: BLE001 - whatever is wrong with somebody else's files must not stop the application
        return None


def _normalized(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()


class Plugins:
    """The declared plugins, and those of them that were loaded.

    Args:
        declarations: What the entry points say.
    """

    def __init__(self, declarations: list[Declaration]) -> None:
        self._declarations = sorted(
            declarations, key=lambda declaration: (declaration.name, declaration.distribution)
        )
        self._loaded: dict[str, Plugin] = {}
        self._lock = (
            threading.Lock()
        )  # held for pluggy's bookkeeping alone: no code of a plugin runs under it
        self._manager = pluggy.PluginManager(hookspecs.GROUP)
        self._manager.add_hookspecs(hookspecs)

    @property
    def declarations(self) -> tuple[Declaration, ...]:
        """Every declared plugin, by name; a name stands twice if two distributions claim it."""
        return tuple(self._declarations)

    @property
    def names(self) -> tuple[str, ...]:
        """The declared names, each once."""
        return tuple(dict.fromkeys(declaration.name for declaration in self._declarations))

    def clashes(self) -> dict[str, tuple[Declaration, ...]]:
        """The names that more than one distribution claims."""
        by_name = {
            name: tuple(d for d in self._declarations if d.name == name) for name in self.names
        }
        return {name: found for name, found in by_name.items() if len(found) > 1}

    def load(self, name: str) -> Plugin:
        """Import the plugin of that name, and return it.

        Raises:
            UnknownPluginError: If nothing of that name is installed.
            BrokenPluginError: If it cannot be imported or registers something else than its entry
                points declare.
        """
        if name not in self._loaded:
            declaration = self._declaration(name)
            self._register_classes(declaration, self.module(declaration))
        if name not in self._loaded:
            raise BrokenPluginError(
                f"{declaration.distribution} declares {name!r}, but {declaration.module} does not"
                " register it"
            )
        return self._loaded[name]

    def _declaration(self, name: str) -> Declaration:
        found = next(
            (declaration for declaration in self._declarations if declaration.name == name), None
        )
        if found is None:
            raise UnknownPluginError(f"no installed distribution provides a plugin named {name!r}")
        return found

    def module(self, declaration: Declaration) -> object:
        """Import a plugin's module and let pluggy check its hooks.

        Raises:
            BrokenPluginError: If it cannot be imported, or a hook implementation fits no hook.
        """
        try:
            module = declaration.entry_point.load()
        except (Exception, SystemExit) as error:
            raise _broken(
                declaration, f"importing {declaration.module} raised {_quote(error)}"
            ) from error
        if not self._manager.is_registered(module):
            self._register_module(declaration, module)
        return module

    def _register_module(self, declaration: Declaration, module: object) -> None:
        try:
            with self._lock:
                if not self._manager.is_registered(module):
                    self._manager.register(
                        module, name=f"{declaration.distribution}:{declaration.module}"
                    )
                self._manager.check_pending()
        except Exception as error:  # pluggy 1.6 leaves a plugin listed that failed its validation
            if self._manager.is_registered(module):
                self._manager.unregister(module)
            raise _broken(declaration, _quote(error)) from error

    def _register_classes(self, declaration: Declaration, module: object) -> None:
        for hook, method in _REGISTERING_HOOKS.items():
            registrar = _Registrar(self, declaration, method)
            try:
                self.call(module, hook, register=registrar)
            except (Exception, SystemExit) as error:
                raise _broken(declaration, f"{hook} raised {_quote(error)}") from error

    def call(self, module: object, hook: str, **arguments: Any) -> None:
        """Call one hook of one module, so that one that raises does not stop those of others, which
        other threads may be registering.
        """
        for implementation in getattr(self._manager.hook, hook).get_hookimpls():
            if implementation.plugin is module:
                implementation.function(*(arguments[name] for name in implementation.argnames))

    def declared_by(self, distribution: str) -> tuple[str, ...]:
        """The plugin names that one distribution declares."""
        return tuple(d.name for d in self._declarations if d.distribution == distribution)

    def add(self, plugin: Plugin) -> None:
        """Take a registered plugin in.

        Raises:
            BrokenPluginError: If its name is taken, by another kind or by another class.
        """
        known = self._loaded.setdefault(plugin.name, plugin)
        if known.plugin_class is not plugin.plugin_class or known.kind != plugin.kind:
            raise BrokenPluginError(
                f"{plugin.name!r} is registered twice, as {known.plugin_class!r} and"
                f" {plugin.plugin_class!r}"
            )


@attrs.frozen
class _Registrar:
    """The `register` that the hooks of one module are given."""

    plugins: Plugins
    declaration: Declaration
    method: str
    """The method that makes a class what is registered."""

    def __call__(self, name: str, plugin_class: Any) -> None:
        distribution = self.declaration.distribution
        declared = self.plugins.declared_by(distribution)
        if name not in declared:
            raise BrokenPluginError(
                f"{name!r} is declared by no entry point of {distribution}, only"
                f" {', '.join(declared)}"
            )
        if not isinstance(plugin_class, type) or not attrs.has(plugin_class):
            raise BrokenPluginError(f"{name!r} must be an attrs class, not {plugin_class!r}")
        try:
            options = options_of(plugin_class)
        except Exception as error:
            raise BrokenPluginError(
                f"{name!r}: the types of its options cannot be read: {_quote(error)}"
            ) from error
        taken = RESERVED_KEYS & options.keys()
        if taken:
            raise BrokenPluginError(
                f"{name!r} has an option with a reserved name: {', '.join(sorted(taken))}"
            )
        plugin = Plugin(
            name=name,
            kind=self._kind(name, plugin_class),
            plugin_class=plugin_class,
            distribution=distribution,
            version=self.declaration.version,
        )
        self.plugins.add(plugin)

    def _kind(self, name: str, plugin_class: type[Any]) -> Kind:
        function = getattr(plugin_class, self.method, None)
        if not callable(function):
            raise BrokenPluginError(
                f"{name!r}: {plugin_class.__qualname__} has no method {self.method}"
            )
        for called in (self.method, *_OPTIONAL_METHODS):
            if any(is_lazy(getattr(plugin_class, called, None)) for is_lazy in _LAZY):
                raise BrokenPluginError(
                    f"{name!r}: {plugin_class.__qualname__}.{called} must be a plain function; an"
                    " async one, or one with `yield`, would never run"
                )
        if self.method == "send" and hasattr(plugin_class, "bind"):
            return "router"
        return _KINDS[self.method]


def _quote(error: BaseException) -> str:
    return str(error) if isinstance(error, PluginError) else f"{type(error).__name__}: {error}"


def _broken(declaration: Declaration, text: str) -> BrokenPluginError:
    return BrokenPluginError(
        f"{declaration.name!r} of {declaration.distribution} {declaration.version} is broken:"
        f" {text}"
    )
