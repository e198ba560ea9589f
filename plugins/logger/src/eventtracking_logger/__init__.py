"""The plugin `logger`: each event as one line of JSON to a standard-library logger."""

from eventtracking.hookspecs import Register, hookimpl

__all__ = ["eventtracking_register_backends"]


@hookimpl
def eventtracking_register_backends(register: Register) -> None:
    """Register the backend."""
    from eventtracking_logger.backend import LoggerBackend

    register("logger", LoggerBackend)
