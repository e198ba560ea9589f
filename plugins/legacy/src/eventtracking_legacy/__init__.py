"""The plugins `legacy` and `legacy_processor`: a site's own backends and processors, written for
event-tracking.
"""

from typing import Any

from eventtracking.hookspecs import Register, RegisterValues, hookimpl

__all__ = [
    "eventtracking_register_backends",
    "eventtracking_register_commands",
    "eventtracking_register_processors",
    "eventtracking_register_values",
]


@hookimpl
def eventtracking_register_backends(register: Register) -> None:
    """Register the wrapper of backends."""
    from eventtracking_legacy.backend import LegacyBackend

    register("legacy", LegacyBackend)


@hookimpl
def eventtracking_register_processors(register: Register) -> None:
    """Register the wrapper of processors."""
    from eventtracking_legacy.processor import LegacyProcessor

    register("legacy_processor", LegacyProcessor)


@hookimpl
def eventtracking_register_values(register: RegisterValues) -> None:
    """Let the text of a key of Open edX, such as a `CourseKey`, stand for it."""
    register("opaque_keys.OpaqueKey", str)


@hookimpl
def eventtracking_register_commands(group: Any) -> None:
    """Add `eventtracking migrate`."""
    from eventtracking_legacy.command import migrate

    group.add_command(migrate)
