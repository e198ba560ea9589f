"""The plugins `event_bus`, `event_bus_router` and `event_bus_settings`: the event bus of
Open edX.
"""

from eventtracking.hookspecs import Register, hookimpl

__all__ = ["eventtracking_register_backends", "eventtracking_register_processors"]


@hookimpl
def eventtracking_register_backends(register: Register) -> None:
    """Register the backend and the router."""
    from eventtracking_event_bus.backend import EventBusBackend
    from eventtracking_event_bus.router import EventBusRouter

    register("event_bus", EventBusBackend)
    register("event_bus_router", EventBusRouter)


@hookimpl
def eventtracking_register_processors(register: Register) -> None:
    """Register the filter by Django settings."""
    from eventtracking_event_bus.processor import EventBusSettings

    register("event_bus_settings", EventBusSettings)
