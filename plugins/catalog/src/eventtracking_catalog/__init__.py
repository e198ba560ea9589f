"""The plugins `catalog` and `redact`: event types that are declared once.

Declare them with `event`, `context`, `register` or a file; the processor `catalog` checks, stamps
and documents events by them, the processor `redact` protects the fields that they do not let pass.
"""

from typing import Any

from msgspec import UNSET

from eventtracking.hookspecs import Register, hookimpl
from eventtracking_catalog.declare import context, event, register, register_context
from eventtracking_catalog.facts import field

__all__ = [
    "UNSET",
    "context",
    "event",
    "eventtracking_register_commands",
    "eventtracking_register_processors",
    "field",
    "register",
    "register_context",
]


@hookimpl
def eventtracking_register_processors(register: Register) -> None:
    """Register the processors."""
    from eventtracking_catalog.processor import Catalog
    from eventtracking_catalog.redact import Redact

    register("catalog", Catalog)
    register("redact", Redact)


@hookimpl
def eventtracking_register_commands(group: Any) -> None:
    """Add `eventtracking catalog`."""
    from eventtracking_catalog.commands import catalog

    group.add_command(catalog)
