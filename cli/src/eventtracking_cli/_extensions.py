"""The commands that installed plugins add, through the hook `eventtracking_register_commands`."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Final

import attrs
import click

from eventtracking.config.discovery import (
    BrokenPluginError,
    Declaration,
    Plugins,
    installed_plugins,
)
from eventtracking_cli.output import warn

__all__ = ["PluginCommand", "plugin_commands"]

_HOOK: Final = "eventtracking_register_commands"


@attrs.frozen(kw_only=True, eq=False)
class PluginCommand:
    """A command, and who adds it."""

    command: click.Command
    owner: str
    """The distribution and its version."""


@lru_cache(maxsize=1)
def plugin_commands(taken: frozenset[str]) -> dict[str, PluginCommand]:
    """Import every installed plugin, once, and return the commands that they add.

    What goes wrong with one is said on the standard error, and the others go on.

    Args:
        taken: The names of the built-in commands, which no plugin may replace.
    """
    plugins = installed_plugins()
    commands: dict[str, PluginCommand] = {}
    for declaration in _one_per_module(plugins):
        for name, command in _commands_of(plugins, declaration).items():
            if name in taken or name in commands:
                warn(
                    f"{_owner(declaration)}: its command {name!r} is left out, because there is one"
                    " of that name"
                )
            else:
                commands[name] = PluginCommand(command=command, owner=_owner(declaration))
    return commands


def _one_per_module(plugins: Plugins) -> Iterator[Declaration]:
    seen = set()
    for declaration in plugins.declarations:
        if declaration.module not in seen:
            seen.add(declaration.module)
            yield declaration


def _commands_of(plugins: Plugins, declaration: Declaration) -> dict[str, click.Command]:
    """Let a plugin add to a group of its own, so that one that fails half way adds nothing."""
    group = click.Group()
    try:
        plugins.call(plugins.module(declaration), _HOOK, group=group)
    except BrokenPluginError as error:
        warn(str(error))
        return {}
    except Exception as error:  # noqa: BLE001 - whatever a plugin's hook raises must not take the other commands away
        warn(f"{_owner(declaration)}: {_HOOK} raised {type(error).__name__}: {error}")
        return {}
    return dict(group.commands)


def _owner(declaration: Declaration) -> str:
    return f"{declaration.distribution} {declaration.version}"
