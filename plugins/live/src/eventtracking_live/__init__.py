"""The plugin `live`: the socket of a running process, `eventtracking top`, `eventtracking tap`."""

from typing import Any

from eventtracking.hookspecs import Register, hookimpl

__all__ = ["eventtracking_register_commands", "eventtracking_register_observers"]


@hookimpl
def eventtracking_register_observers(register: Register) -> None:
    """Register the observer."""
    from eventtracking_live.observer import LiveObserver

    register("live", LiveObserver)


@hookimpl
def eventtracking_register_commands(group: Any) -> None:
    """Add `top` and `tap`."""
    from eventtracking_live.commands import tap, top

    group.add_command(top)
    group.add_command(tap)
