"""The catalog's pages, where the plugin `catalog` is installed."""

from __future__ import annotations

import tempfile
from importlib import import_module
from pathlib import Path

from eventtracking import Tracker

__all__ = ["catalog_site"]


def catalog_site(tracker: Tracker) -> Path | None:
    """Write the catalog's site into a temporary folder; None without declared event types.

    The catalog is no dependency: its modules are found by name, where it is installed.
    """
    try:
        registry = import_module("eventtracking_catalog.registry").registry
        routes_of = import_module("eventtracking_catalog.routes").routes_of
        write_site = import_module("eventtracking_catalog.site").write_site
    except (ImportError, AttributeError):  # not installed, or of another version
        return None
    types = list(registry.all())
    if not types:
        return None
    folder = Path(tempfile.mkdtemp(prefix="eventtracking-console-"))
    write_site(folder, types, list(registry.all("context")), routes_of(tracker, types), {})
    return folder
