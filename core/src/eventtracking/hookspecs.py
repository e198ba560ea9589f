"""The hooks that a plugin implements.

A plugin is a module, named by an entry point in the group `eventtracking`.

The module must be cheap to import: it holds the hook implementations and imports no driver before a
hook is called. None of these hooks is called on the way of an event.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import pluggy

__all__ = [
    "CONTRACT",
    "GROUP",
    "Register",
    "RegisterValues",
    "eventtracking_register_backends",
    "eventtracking_register_commands",
    "eventtracking_register_observers",
    "eventtracking_register_processors",
    "eventtracking_register_values",
    "hookimpl",
    "hookspec",
]

GROUP = "eventtracking"
"""The entry-point group, and pluggy's project name."""
CONTRACT = 1
"""The version of the contract between core and plugins.

A plugin's module may set `EVENTTRACKING_CONTRACT = 1`; core refuses one that needs a higher number.
"""

hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)


class Register(Protocol):
    """The `register` of the registering hooks."""

    def __call__(self, name: str, plugin_class: type[Any]) -> None:
        """Register a class under the name by which configs will call it.

        Args:
            name: A name that an entry point of the same distribution declares.
            plugin_class: An attrs class whose fields are the options.

        Raises:
            PluginError: If the name is not declared, or taken, or the class is no attrs class.
        """


class RegisterValues(Protocol):
    """The `register` of `eventtracking_register_values`."""

    def __call__(self, type_name: str, form: Callable[[Any], Any]) -> None:
        """Register the plain form of a type's instances: `register("opaque_keys.OpaqueKey", str)`.

        Args:
            type_name: The qualified name of the class, which need not be imported. It stands for
                subclasses, too.
            form: Returns the value that stands for an instance in events: plain data, or one
                that has a plain form.
        """


@hookspec
def eventtracking_register_backends(register: Register) -> None:
    """Register backends and routers: `register("mongo", MongoBackend)`.

    Called once per process and plugin, on the thread that loads a config (or lists the plugins),
    and only for plugins that the config names. If it raises, that plugin is broken: the config
    error quotes it, and other plugins go on.
    """


@hookspec
def eventtracking_register_processors(register: Register) -> None:
    """Register processors: `register("regex_filter", RegexFilter)`.

    Called once per process and plugin, just after `eventtracking_register_backends`, under the same
    rules.
    """


@hookspec
def eventtracking_register_observers(register: Register) -> None:
    """Register observers: `register("prometheus", PrometheusObserver)`.

    Called once per process and plugin, just after `eventtracking_register_processors`, under the
    same rules.
    """


@hookspec
def eventtracking_register_values(register: RegisterValues) -> None:
    """Register the plain forms of a type's values in events.

    Called once per process and plugin, on the thread that loads a config, for each plugin that the
    config names, also in its top-level key `values`. If it raises, that plugin is broken. The forms
    are asked while an event is captured, on the thread that emits it, and only where a value is no
    plain one already. One that raises leaves a mark in the event, which is counted.
    """


@hookspec
def eventtracking_register_commands(group: Any) -> None:
    """Add commands to the `eventtracking` command line.

    Called once per process, by the command line alone, for every installed plugin. If it raises,
    the command line says so on the standard error and goes on without these commands.

    Args:
        group: The `click.Group` of the command line. Import click inside the hook, not at the top
            of the plugin.
    """
