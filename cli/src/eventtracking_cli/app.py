"""The command `eventtracking`: the built-in commands, and those of the installed plugins."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import click

from eventtracking import EventTrackingError
from eventtracking.options import did_you_mean
from eventtracking_cli._extensions import plugin_commands
from eventtracking_cli.check import check_command
from eventtracking_cli.emit import emit_command
from eventtracking_cli.explain import explain_command
from eventtracking_cli.graph import graph_command
from eventtracking_cli.plugins import plugins_command
from eventtracking_cli.replay import replay_command
from eventtracking_cli.schema import schema_command

__all__ = ["app", "main"]


class App(click.Group):
    """A group that imports plugins for their commands only when it lists them, or is asked for one that is not built in."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a built-in command, else one that a plugin added."""
        own = super().get_command(ctx, cmd_name)
        return own if own is not None else plugin_commands(frozenset(self.commands)).get(cmd_name)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List the built-in commands, then those of plugins."""
        return [*super().list_commands(ctx), *sorted(plugin_commands(frozenset(self.commands)))]

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; suggest the nearest one if there is none of that name."""
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            hint = did_you_mean(args[0], self.list_commands(ctx)) or "see `eventtracking --help`"
            ctx.fail(f"there is no command {args[0]!r}; {hint}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; our own errors end it with their message, without a traceback."""
        try:
            return super().invoke(ctx)
        except EventTrackingError as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=App, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("eventtracking-cli"), prog_name="eventtracking")
def app() -> None:
    """Check, draw, explain and feed the routing config of an application that tracks events.

    Exit status: 0 for success, 1 for problems that were found or events that failed, 2 for wrong usage.
    """


for _command in (
    plugins_command,
    check_command,
    graph_command,
    schema_command,
    emit_command,
    replay_command,
    explain_command,
):
    app.add_command(_command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit.

    Args:
        arguments: By default, those of the process.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name must not end a command, whatever the encoding
    app.main(args=None if arguments is None else list(arguments), prog_name="eventtracking")
