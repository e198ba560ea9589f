"""The commands that installed plugins add, through the hook `eventtracking_register_commands`."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Final

import click

from eventtracking.plugins import BrokenPluginError, Declaration, Plugins, installed_plugins

__all__ = ["plugin_commands"]

_HOOK: Final = "eventtracking_register_commands"


@lru_cache(maxsize=1)
def plugin_commands(taken: frozenset[str]) -> dict[str, click.Command]:
    """Import every installed plugin, once, and return the commands that they add.

    What goes wrong with one is said on the standard error, and the others go on.

    Args:
        taken: The names of the built-in commands, which no plugin may replace.
    """
    plugins = installed_plugins()
    commands: dict[str, click.Command] = {}
    for declaration in _one_per_module(plugins):
        for name, command in _commands_of(plugins, declaration).items():
            if name in taken or name in commands:
                _complain(declaration, f"its command {name!r} is left out, because there is one of that name")
            else:
                commands[name] = command
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
        click.echo(f"warning: {error}", err=True)
        return {}
    except Exception as error:  # noqa: BLE001 - whatever a plugin's hook raises must not take the other commands away
        _complain(declaration, f"{_HOOK} raised {type(error).__name__}: {error}")
        return {}
    return dict(group.commands)


def _complain(declaration: Declaration, text: str) -> None:
    click.echo(f"warning: {declaration.distribution} {declaration.version}: {text}", err=True)
