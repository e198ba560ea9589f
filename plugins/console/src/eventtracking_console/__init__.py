"""The plugin `console`: a web console, as the command `eventtracking console`, or mounted."""

from typing import Any

from eventtracking.hookspecs import hookimpl

__all__ = ["eventtracking_register_commands"]


@hookimpl
def eventtracking_register_commands(group: Any) -> None:
    """Add `console`."""
    from eventtracking_console.commands import console

    group.add_command(console)
