"""The plugin `async_celery`: a router that hands events to Celery workers, which deliver them."""

from typing import Any

from eventtracking.hookspecs import Register, hookimpl

__all__ = ["eventtracking_register_backends", "eventtracking_register_commands"]


@hookimpl
def eventtracking_register_backends(register: Register) -> None:
    """Register the router."""
    from eventtracking_async_celery.router import AsyncCeleryRouter

    register("async_celery", AsyncCeleryRouter)


@hookimpl
def eventtracking_register_commands(group: Any) -> None:
    """Add `eventtracking worker` and `eventtracking celery-dead-letters`."""
    from eventtracking_async_celery.commands import dead_letters, worker

    group.add_command(worker)
    group.add_command(dead_letters)
