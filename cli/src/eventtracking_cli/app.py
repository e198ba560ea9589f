"""The command `eventtracking`: the built-in commands, and those of the installed plugins."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import version
from typing import Any, Final

import click

from eventtracking import EventTrackingError
from eventtracking.config.words import did_you_mean
from eventtracking_cli._crash import Crash
from eventtracking_cli._extensions import PluginCommand, plugin_commands
from eventtracking_cli._streams import OutputError, mended_streams
from eventtracking_cli.check import check_command
from eventtracking_cli.emit import emit_command
from eventtracking_cli.explain import explain_command
from eventtracking_cli.graph import graph_command
from eventtracking_cli.new_plugin import new_plugin_command
from eventtracking_cli.output import printable
from eventtracking_cli.plugins import plugins_command
from eventtracking_cli.replay import replay_command
from eventtracking_cli.schema import schema_command

__all__ = ["app", "main"]

_PASSED_ON: Final = (
    click.ClickException,
    click.exceptions.Exit,
    click.Abort,
    EOFError,
    OutputError,
)
"""What click, or `main`, makes an exit status of."""


class App(click.Group):
    """A group that imports plugins for their commands only when it lists them, or is asked for one
    that is not built in.
    """

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a built-in command, else one that a plugin added."""
        own = super().get_command(ctx, cmd_name)
        if own is not None:
            return own
        added = self._added().get(cmd_name)
        return added.command if added is not None else None

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List the built-in commands, then those of plugins."""
        return [*super().list_commands(ctx), *sorted(self._added())]

    def _added(self) -> dict[str, PluginCommand]:
        return plugin_commands(frozenset(self.commands))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; suggest the nearest one if there is none of that name."""
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            hint = did_you_mean(args[0], self.list_commands(ctx)) or "see `eventtracking --help`"
            ctx.fail(f"there is no command {args[0]!r}; {hint}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; whatever it raises ends it with a message, without a traceback."""
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
        if command is None or command in self.commands:
            return f"eventtracking-cli {version('eventtracking-cli')}"
        return self._added()[command].owner


@click.group(cls=App, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("eventtracking-cli"), prog_name="eventtracking")
def app() -> None:
    """Check, draw, explain and feed the routing config of an application that tracks events.

    Exit status: 0 for success, 1 for problems that were found or events that failed, 2 for wrong
    usage.
    """


for _command in (
    plugins_command,
    check_command,
    graph_command,
    schema_command,
    emit_command,
    replay_command,
    explain_command,
    new_plugin_command,
):
    app.add_command(_command)


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
