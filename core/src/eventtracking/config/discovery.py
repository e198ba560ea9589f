"""The plugins that are installed: found through entry points, and imported only when a config names
them.
"""

from __future__ import annotations

import threading
from functools import lru_cache
from typing import Any, Final, Literal

import msgspec
import pluggy

from eventtracking import hookspecs
from eventtracking._data.snapshot import Values
from eventtracking.config.faults import (
    RESERVED_KEYS,
    faults_of_class,
    faults_of_module,
    quote,
    whence,
)
from eventtracking.config.installed import Declaration, declarations
from eventtracking.errors import PluginError

__all__ = [
    "RESERVED_KEYS",
    "BrokenPluginError",
    "ClashingPluginError",
    "Declaration",
    "Plugin",
    "Plugins",
    "UnknownPluginError",
    "installed_plugins",
]

Kind = Literal["backend", "router", "processor", "observer"]

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


class ClashingPluginError(PluginError):
    """Raised when several distributions claim the name of a plugin."""


class Plugin(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """A loaded plugin."""

    name: str
    kind: Kind
    plugin_class: type[Any]
    distribution: str
    version: str


def installed_plugins() -> Plugins:
    """Return the plugins that are installed now."""
    return _plugins(declarations())


@lru_cache(maxsize=4)
def _plugins(declared: tuple[Declaration, ...]) -> Plugins:
    return Plugins(list(declared))


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
        self._values: dict[str, Values] = {}
        """By the module that registered them."""
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
            ClashingPluginError: If several distributions claim the name.
            BrokenPluginError: If it cannot be imported or registers something else than its entry
                points declare.
        """
        if name not in self._loaded:
            declaration = self._declaration(name)
            module = self.module(declaration)
            self._register_classes(declaration, module)
        if name not in self._loaded:
            raise BrokenPluginError(
                f"{declaration.distribution} declares {name!r}, but {declaration.module} does not"
                f" register it; call register({name!r}, ...) in one of its hooks"
                f" ({getattr(module, '__file__', declaration.module)})"
            )
        return self._loaded[name]

    def values_of(self, name: str) -> Values:
        """Return the plain forms of values that a plugin registers, by the name of the type.

        Raises:
            PluginError: As `load`.
        """
        declaration = self._declaration(name)
        if declaration.module not in self._values:
            module = self.module(declaration)
            registrar = _ValueRegistrar({})
            self._call(declaration, module, "eventtracking_register_values", registrar)
            self._values[declaration.module] = registrar.forms
        return self._values[declaration.module]

    def _declaration(self, name: str) -> Declaration:
        found = [declaration for declaration in self._declarations if declaration.name == name]
        if not found:
            raise UnknownPluginError(f"no installed distribution provides a plugin named {name!r}")
        if len(found) > 1:
            claims = " and ".join(f"{one.distribution} {one.version}" for one in found)
            raise ClashingPluginError(f"the plugin name {name!r} is claimed by {claims}")
        return found[0]

    def module(self, declaration: Declaration) -> object:
        """Import a plugin's module and let pluggy check its hooks.

        Raises:
            BrokenPluginError: If it cannot be imported, or a hook implementation fits no hook.
        """
        try:
            module = declaration.entry_point.load()
        except (Exception, SystemExit) as error:
            raise _broken(
                declaration, f"importing {declaration.module} raised {quote(error)}{whence(error)}"
            ) from error
        with self._lock:
            known = self._manager.is_registered(module)
        if not known:
            self._register_module(declaration, module)
        return module

    def _register_module(self, declaration: Declaration, module: object) -> None:
        faults = list(faults_of_module(module))
        if faults:
            raise _broken(declaration, "; ".join(faults))
        with self._lock:
            try:
                if not self._manager.is_registered(module):
                    self._manager.register(
                        module, name=f"{declaration.distribution}:{declaration.module}"
                    )
                self._manager.check_pending()
            except Exception as error:
                # pluggy 1.6 leaves a plugin listed that failed its validation.
                if self._manager.is_registered(module):
                    self._manager.unregister(module)
                raise _broken(declaration, quote(error)) from error

    def _register_classes(self, declaration: Declaration, module: object) -> None:
        for hook, method in _REGISTERING_HOOKS.items():
            self._call(declaration, module, hook, _Registrar(self, declaration, method))

    def _call(self, declaration: Declaration, module: object, hook: str, register: Any) -> None:
        try:
            self.call(module, hook, register=register)
        except (Exception, SystemExit) as error:
            text = f"{hook} raised {quote(error)}{whence(error)}"
            raise _broken(declaration, text) from error

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


class _Registrar(msgspec.Struct, frozen=True, eq=False):
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
                f" {', '.join(declared)}; use such a name, or add an entry point"
            )
        faults = [f"{name!r}: {fault}" for fault in faults_of_class(plugin_class, self.method)]
        if faults:
            raise BrokenPluginError("; ".join(faults))
        plugin = Plugin(
            name=name,
            kind=self._kind(plugin_class),
            plugin_class=plugin_class,
            distribution=distribution,
            version=self.declaration.version,
        )
        self.plugins.add(plugin)

    def _kind(self, plugin_class: type[Any]) -> Kind:
        if self.method == "send" and hasattr(plugin_class, "bind"):
            return "router"
        return _KINDS[self.method]


class _ValueRegistrar(msgspec.Struct, frozen=True, eq=False):
    """The `register` that `eventtracking_register_values` is given."""

    forms: dict[str, Any]

    def __call__(self, type_name: Any, form: Any) -> None:
        if not isinstance(type_name, str) or "." not in type_name:
            raise BrokenPluginError(
                f"register({type_name!r}, ...): the type must be given as text, by its qualified"
                ' name: "opaque_keys.OpaqueKey"'
            )
        if not callable(form):
            raise BrokenPluginError(f"register({type_name!r}, {form!r}): the form must be callable")
        self.forms[type_name] = form


def _broken(declaration: Declaration, text: str) -> BrokenPluginError:
    return BrokenPluginError(
        f"{declaration.name!r} of {declaration.distribution} {declaration.version} is broken:"
        f" {text}"
    )
