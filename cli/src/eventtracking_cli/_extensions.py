"""The commands that installed plugins add, through the hook `eventtracking_register_commands`."""

from __future__ import annotations

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

__all__ = ["PluginCommand", "PluginCommands", "plugin_commands"]

_HOOK: Final = "eventtracking_register_commands"


@attrs.frozen(kw_only=True, eq=False)
class PluginCommand:
    """A command, and who adds it."""

    command: click.Command
    owner: str
    """The distribution and its version."""


@attrs.define(eq=False)
class PluginCommands:
    """The commands of the plugins that are installed now; each plugin is imported at most once.

    The problems of one are said on the standard error, and the others go on.
    """

    taken: frozenset[str]
    """The names of the built-in commands, which no plugin may replace."""
    _plugins: Plugins = attrs.field(factory=installed_plugins)
    _added: dict[str, dict[str, click.Command]] = attrs.field(factory=dict)
    """The commands of each module that was imported."""
    _all: dict[str, PluginCommand] | None = None

    def get(self, name: str) -> PluginCommand | None:
        """Return a command. A plugin of that name is asked first: the others stay unimported."""
        for declaration in self._plugins.declarations:
            if declaration.name == name and name in (own := self._commands_of(declaration)):
                return PluginCommand(command=own[name], owner=_owner(declaration))
        return self.all().get(name)

    def all(self) -> dict[str, PluginCommand]:
        """Import every plugin; a command belongs to the plugin of its name, else to the first."""
        if self._all is None:
            self._all = {}
            for declaration in sorted(
                self._one_per_module(), key=self._adds_its_name, reverse=True
            ):
                self._take(declaration, self._all)
        return self._all

    def _take(self, declaration: Declaration, commands: dict[str, PluginCommand]) -> None:
        for name, command in self._commands_of(declaration).items():
            if name in self.taken or name in commands:
                warn(
                    f"{_owner(declaration)}: its command {name!r} is left out, because there is one"
                    " of that name"
                )
            else:
                commands[name] = PluginCommand(command=command, owner=_owner(declaration))

    def _one_per_module(self) -> list[Declaration]:
        found: dict[str, Declaration] = {}
        for declaration in self._plugins.declarations:
            found.setdefault(declaration.module, declaration)
        return list(found.values())

    def _adds_its_name(self, declaration: Declaration) -> bool:
        return declaration.name in self._commands_of(declaration)

    def _commands_of(self, declaration: Declaration) -> dict[str, click.Command]:
        """Let a plugin add to a group of its own, so that one that fails half way adds nothing."""
        known = self._added.get(declaration.module)
        if known is not None:
            return known
        group = click.Group()
        try:
            self._plugins.call(self._plugins.module(declaration), _HOOK, group=group)
        except BrokenPluginError as error:
            warn(str(error))
            group = click.Group()
        except Exception as error:  # noqa: BLE001 - whatever a plugin's hook raises must not take the other commands away
            warn(f"{_owner(declaration)}: {_HOOK} raised {type(error).__name__}: {error}")
            group = click.Group()
        self._added[declaration.module] = dict(group.commands)
        return self._added[declaration.module]


@lru_cache(maxsize=1)
def plugin_commands(taken: frozenset[str]) -> PluginCommands:
    """Return the commands of the installed plugins.

    Args:
        taken: The names of the built-in commands.
    """
    return PluginCommands(taken)


def _owner(declaration: Declaration) -> str:
    return f"{declaration.distribution} {declaration.version}"
