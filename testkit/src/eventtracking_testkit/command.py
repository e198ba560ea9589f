"""The entry point of the test kit: its command for the `eventtracking` command line."""

from typing import Any

from eventtracking import hookimpl

__all__ = ["eventtracking_register_commands"]


@hookimpl
def eventtracking_register_commands(group: Any) -> None:
    """Add `eventtracking check-plugin`."""
    from eventtracking_testkit.check_plugin import check_plugin_command

    group.add_command(check_plugin_command)
