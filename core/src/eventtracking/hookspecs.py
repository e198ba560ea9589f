"""The hooks that a plugin implements.

A plugin is a module, named by an entry point in the group `eventtracking`.

The module must be cheap to import: it holds the hook implementations and imports no driver before a
hook is called. None of these hooks is called on the way of an event.
"""

from __future__ import annotations

from typing import Any, Protocol

import pluggy

__all__ = [
    "GROUP",
    "Register",
    "eventtracking_register_backends",
    "eventtracking_register_commands",
    "eventtracking_register_observers",
    "eventtracking_register_processors",
    "hookimpl",
    "hookspec",
]

GROUP = "eventtracking"
"""The entry-point group, and pluggy's project name."""

hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)


class Register(Protocol):
    """What the registering hooks are given."""

    def __call__(self, name: str, plugin_class: type[Any]) -> None:
        """Register a class under the name by which configs will call it.

        Args:
            name: A name that an entry point of the same distribution declares.
            plugin_class: An attrs class whose fields are the options.

        Raises:
            PluginError: If the name is not declared, or taken, or the class is no attrs class.
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
def eventtracking_register_commands(group: Any) -> None:
    """Add commands to the `eventtracking` command line.

    Called once per process, by the command line alone, for every installed plugin. If it raises,
    the command line says so on the standard error and goes on without these commands.

    Args:
        group: The `click.Group` of the command line. Import click inside the hook, not at the top
            of the plugin.
    """
