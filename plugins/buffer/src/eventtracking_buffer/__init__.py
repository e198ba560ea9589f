"""The plugin `buffer`: a router that stores events, in memory or on disk, and delivers them off the
request.
"""

from typing import Any

from eventtracking.hookspecs import Register, hookimpl

__all__ = ["eventtracking_register_backends", "eventtracking_register_commands"]


@hookimpl
def eventtracking_register_backends(register: Register) -> None:
    """Register the router."""
    from eventtracking_buffer.router import BufferRouter

    register("buffer", BufferRouter)


@hookimpl
def eventtracking_register_commands(group: Any) -> None:
    """Add `eventtracking buffer` and `eventtracking dead-letters`."""
    from eventtracking_buffer.cli.commands import buffer, dead_letters

    group.add_command(buffer)
    group.add_command(dead_letters)
