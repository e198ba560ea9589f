"""For tests: events that are not declared, or do not conform."""

from __future__ import annotations

from collections.abc import Iterable

from eventtracking import Event
from eventtracking_catalog.entry_points import load_entry_points
from eventtracking_catalog.files import load_layer
from eventtracking_catalog.problems import problems_of
from eventtracking_catalog.registry import OWN_PREFIX, registry

__all__ = ["complaints"]


def complaints(events: Iterable[Event], files: Iterable[str] = ()) -> list[str]:
    """Return a line for each problem of events, by the declarations of this process.

    Args:
        files: Declaration files, beside imported and installed ones.
    """
    found: dict[str, None] = dict.fromkeys(load_entry_points())
    layers = [load_layer(file) for file in files]  # kept alive until the end
    for event in events:
        if event.name.startswith(OWN_PREFIX):
            continue
        declaration = registry.get(event.name)
        if declaration is None:
            found[f"{event.name}: no declaration has this name"] = None
        elif not declaration.is_open:
            for kind, path in problems_of(declaration.fields, event.data):
                found[f"{event.name}: {kind} {path}"] = None
    del layers
    return list(found)
