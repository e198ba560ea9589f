"""The problems of all declarations, and notes about them."""

from __future__ import annotations

from collections.abc import Iterable

from eventtracking_catalog.declaration import Declaration
from eventtracking_catalog.fast import Inexpressible, compiled
from eventtracking_catalog.records import RECORD_NAME
from eventtracking_catalog.registry import Registry
from eventtracking_catalog.routes import HINT, Routes
from eventtracking_catalog.types import walk

__all__ = ["findings", "marked_share"]


def findings(registry: Registry, routes: Routes) -> tuple[list[str], list[str]]:
    """Return the problems, and the notes that are none."""
    problems = [*registry.problems, *map(str, registry.conflicts())]
    notes = []
    for one in [*registry.all(), *registry.all("context")]:
        problems += [f"{one.name} ({one.place}): {text}" for text in one.problems]
    for one in registry.all():
        try:
            compiled(one.fields)
        except Inexpressible as reason:
            notes.append(f"{one.name}: checked by the slow path alone ({reason})")
        without = routes[one.name].without_records if one.name in routes else ()
        notes += [f"{path}: takes {one.name} and drops {RECORD_NAME}; {HINT}" for path in without]
    return problems, notes


def marked_share(declarations: Iterable[Declaration]) -> tuple[int, int]:
    """Return how many fields have a PII mark or an explicit none, and how many there are.

    A field of an object counts with the mark of the field that holds it.
    """
    marked, total = 0, 0
    for one in declarations:
        found: dict[str, bool] = {}
        for path, field in walk(one.fields):
            above = any(is_marked and path.startswith(outer) for outer, is_marked in found.items())
            found[path] = bool(field.pii) or above
        marked, total = marked + sum(found.values()), total + len(found)
    return marked, total
