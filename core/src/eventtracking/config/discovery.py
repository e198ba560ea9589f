"""The plugins that are installed: found through entry points, and imported only when a config names
them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from functools import lru_cache, partial
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

_KINDS: Final[dict[str, tuple[str, Kind]]] = {
    "eventtracking_register_backends": ("send", "backend"),
    "eventtracking_register_processors": ("__call__", "processor"),
    "eventtracking_register_observers": ("start", "observer"),
}
"""Each hook that registers classes, the method that they must have, and the kind of plugin."""


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
    return Plugins(declared)


class Plugins:
    """The declared plugins, and those of them that were loaded."""

    def __init__(self, declarations: Iterable[Declaration]) -> None:
        self.declarations = tuple(
            sorted(declarations, key=lambda one: (one.name, one.distribution))
        )
        """Every declared plugin, by name; a name stands twice if two distributions claim it."""
        self.names = tuple(dict.fromkeys(one.name for one in self.declarations))
        """The declared names, each once."""
        self._loaded: dict[str, Plugin] = {}
        self._values: dict[str, Values] = {}
        """By the module that registered them."""
        self._lock = threading.Lock()  # for pluggy's books alone: no code of a plugin runs under it
        self._manager = pluggy.PluginManager(hookspecs.GROUP)
        self._manager.add_hookspecs(hookspecs)

    def clashes(self) -> dict[str, tuple[Declaration, ...]]:
        """Return the names that more than one distribution claims."""
        claims = {name: self._claims(name) for name in self.names}
        return {name: found for name, found in claims.items() if len(found) > 1}

    def _claims(self, name: str) -> tuple[Declaration, ...]:
        return tuple(one for one in self.declarations if one.name == name)

    def load(self, name: str) -> Plugin:
        """Import the plugin of that name, and return it.

        Raises:
            UnknownPluginError: If nothing of that name is installed.
            ClashingPluginError: If several distributions claim the name.
            BrokenPluginError: If it cannot be imported, or its names are not those of its entry
                points.
        """
        if name in self._loaded:
            return self._loaded[name]
        declaration = self._declaration(name)
        module = self.module(declaration)
        for hook, (method, kind) in _KINDS.items():
            self._register(declaration, module, hook, partial(self._add, declaration, method, kind))
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
            module, forms = self.module(declaration), dict[str, Any]()
            hook = "eventtracking_register_values"
            self._register(declaration, module, hook, partial(_add_form, forms))
            self._values[declaration.module] = forms
        return self._values[declaration.module]

    def _declaration(self, name: str) -> Declaration:
        found = self._claims(name)
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
            text = f"importing {declaration.module} raised {quote(error)}{whence(error)}"
            raise _broken(declaration, text) from error
        with self._lock:
            known = self._manager.is_registered(module)
        if not known:
            self._register_module(declaration, module)
        return module

    def _register_module(self, declaration: Declaration, module: object) -> None:
        faults = list(faults_of_module(module))
        if faults:
            raise _broken(declaration, "; ".join(faults))
        name = f"{declaration.distribution}:{declaration.module}"
        with self._lock:
            try:
                if not self._manager.is_registered(module):
                    self._manager.register(module, name)
                self._manager.check_pending()
            except Exception as error:
                # pluggy 1.6 leaves a plugin listed that failed its validation.
                if self._manager.is_registered(module):
                    self._manager.unregister(module)
                raise _broken(declaration, quote(error)) from error

    def _register(
        self, declaration: Declaration, module: object, hook: str, register: Callable[..., None]
    ) -> None:
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

    def _add(
        self, declaration: Declaration, method: str, kind: Kind, name: str, plugin_class: Any
    ) -> None:
        """Take a class in: the `register` of the hooks.

        Raises:
            BrokenPluginError: If its name is not declared, or taken, or the class has faults.
        """
        distribution = declaration.distribution
        declared = [one.name for one in self.declarations if one.distribution == distribution]
        if name not in declared:
            raise BrokenPluginError(
                f"{name!r} is declared by no entry point of {distribution}, only"
                f" {', '.join(declared)}; use such a name, or add an entry point"
            )
        faults = [f"{name!r}: {fault}" for fault in faults_of_class(plugin_class, method)]
        if faults:
            raise BrokenPluginError("; ".join(faults))
        plugin = Plugin(
            name=name,
            kind="router" if kind == "backend" and hasattr(plugin_class, "bind") else kind,
            plugin_class=plugin_class,
            distribution=distribution,
            version=declaration.version,
        )
        known = self._loaded.setdefault(name, plugin)
        if known.plugin_class is not plugin_class or known.kind != plugin.kind:
            raise BrokenPluginError(
                f"{name!r} is registered twice, as {known.plugin_class!r} and {plugin_class!r}"
            )


def _add_form(forms: dict[str, Any], type_name: Any, form: Any) -> None:
    """Take the plain form of a type in: the `register` of `eventtracking_register_values`."""
    if not isinstance(type_name, str) or "." not in type_name:
        raise BrokenPluginError(
            f"register({type_name!r}, ...): the type must be given as text, by its qualified"
            ' name: "opaque_keys.OpaqueKey"'
        )
    if not callable(form):
        raise BrokenPluginError(f"register({type_name!r}, {form!r}): the form must be callable")
    forms[type_name] = form


def _broken(declaration: Declaration, text: str) -> BrokenPluginError:
    owner = f"{declaration.name!r} of {declaration.distribution} {declaration.version}"
    return BrokenPluginError(f"{owner} is broken: {text}")
