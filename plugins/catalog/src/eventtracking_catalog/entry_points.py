"""The declarations of installed distributions: the entry-point group `eventtracking.catalog`."""

from __future__ import annotations

import importlib
import importlib.resources
import sys
from pathlib import PurePosixPath
from typing import Any, Final

import importlib_metadata

from eventtracking_catalog.files import sources_of
from eventtracking_catalog.registry import FileLayer, registry

__all__ = ["GROUP", "load_entry_points"]

GROUP: Final = "eventtracking.catalog"

_loaded: dict[str, Any] = {"path": None, "layers": [], "problems": []}


def load_entry_points() -> list[str]:
    """Read the declarations of installed distributions; again only on another import path.

    Returns:
        The problems: one broken distribution hides no other.
    """
    path = tuple(sys.path)
    if _loaded["path"] != path:
        _loaded["path"] = path
        _loaded["layers"], _loaded["problems"] = layers, problems = [], []
        for point in importlib_metadata.entry_points(group=GROUP):
            try:
                layers.append(_load(point))
            except (Exception, SystemExit) as error:  # noqa: BLE001 - modules of other distributions may raise any error
                owner = getattr(point.dist, "name", "a distribution")
                text = str(error) if isinstance(error, ValueError) else type(error).__name__
                problems.append(f"{owner}: entry point {point.name} = {point.value!r}: {text}")
    return list(_loaded["problems"])


def _load(point: Any) -> FileLayer | None:
    """Import `module`, or read `package:file.toml`."""
    package, _, file = str(point.value).partition(":")
    if not file:
        importlib.import_module(package)
        return None
    package, file = package.strip(), file.strip()
    text = importlib.resources.files(package).joinpath(file).read_text(encoding="utf-8-sig")
    place = f"{package}:{file}"
    layer = FileLayer(place, sources_of(text, PurePosixPath(file).suffix, place))
    registry.add_layer(layer)
    return layer
