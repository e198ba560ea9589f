"""The plugin `sqlite`: an embedded event store."""

from eventtracking.hookspecs import Register, hookimpl

__all__ = ["eventtracking_register_backends"]


@hookimpl
def eventtracking_register_backends(register: Register) -> None:
    """Register the backend."""
    from eventtracking_sqlite.backend import SqliteBackend

    register("sqlite", SqliteBackend)
