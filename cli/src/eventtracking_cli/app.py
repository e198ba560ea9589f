"""The command `eventtracking`: the built-in commands, and those of the installed plugins."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any, Final

import click

from eventtracking import EventTrackingError
from eventtracking.config.words import did_you_mean
from eventtracking_cli._crash import Crash
from eventtracking_cli._extensions import PluginCommands, plugin_commands
from eventtracking_cli._streams import OutputError, mended_streams
from eventtracking_cli.output import printable

__all__ = ["BUILT_IN", "app", "main"]

BUILT_IN: Final = (
    "plugins", "check", "graph", "schema", "emit", "replay", "explain", "new-plugin",
)  # fmt: skip
"""The built-in commands: each is `NAME_command` in the module of its name."""

_PASSED_ON: Final = (
    click.ClickException,
    click.exceptions.Exit,
    click.Abort,
    EOFError,
    OutputError,
)
"""What click, or `main`, makes an exit status of."""


class App(click.Group):
    """A group that imports a command when it is asked for.

    Plugins are imported only to list their commands, or for one that is not built in.
    """

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a built-in command, else one that a plugin added."""
        if cmd_name not in BUILT_IN:
            added = self._added().get(cmd_name)
            return added.command if added is not None else None
        if cmd_name not in self.commands:
            name = cmd_name.replace("-", "_")
            self.add_command(getattr(import_module(f"eventtracking_cli.{name}"), f"{name}_command"))
        return super().get_command(ctx, cmd_name)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """List the built-in commands, then those of plugins."""
        return [*BUILT_IN, *sorted(self._added().all())]

    def _added(self) -> PluginCommands:
        return plugin_commands(frozenset(BUILT_IN))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; suggest the nearest one if there is none of that name."""
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            hint = did_you_mean(args[0], self.list_commands(ctx)) or "see `eventtracking --help`"
            ctx.fail(f"there is no command {args[0]!r}; {hint}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an error ends it with a message, without a traceback."""
        try:
            return super().invoke(ctx)
        except _PASSED_ON:
            raise
        except EventTrackingError as error:
            raise click.ClickException(printable(error, keep_lines=True)) from error
        except Exception as error:
            raise Crash(
                ctx.invoked_subcommand, self._owner(ctx.invoked_subcommand), error
            ) from error

    def _owner(self, command: str | None) -> str:
        added = None if command is None or command in BUILT_IN else self._added().get(command)
        if added is not None:
            return added.owner
        from importlib.metadata import version

        return f"eventtracking-cli {version('eventtracking-cli')}"


@click.group(cls=App, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="eventtracking-cli", prog_name="eventtracking")
def app() -> None:
    """Check, draw, explain and feed the routing config of an application that tracks events.

    Exit status: 0 for success, 1 for problems that were found or events that failed, 2 for wrong
    usage.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit.

    Args:
        arguments: By default, those of the process.
    """
    with mended_streams():
        try:
            app.main(args=None if arguments is None else list(arguments), prog_name="eventtracking")
        except OutputError as error:
            with suppress(OutputError):  # the standard error may be what cannot be written
                click.echo(f"Error: the output cannot be written: {error.strerror}", err=True)
            sys.exit(1)
