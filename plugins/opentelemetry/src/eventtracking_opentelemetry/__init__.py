"""The plugins `opentelemetry` and `trace_context`: metrics, spans, and ids of traces."""

from eventtracking.hookspecs import Register, hookimpl

__all__ = ["eventtracking_register_observers", "eventtracking_register_processors"]


@hookimpl
def eventtracking_register_observers(register: Register) -> None:
    """Register the observer."""
    from eventtracking_opentelemetry.observer import OpenTelemetryObserver

    register("opentelemetry", OpenTelemetryObserver)


@hookimpl
def eventtracking_register_processors(register: Register) -> None:
    """Register the processor."""
    from eventtracking_opentelemetry.trace_context import TraceContext

    register("trace_context", TraceContext)
