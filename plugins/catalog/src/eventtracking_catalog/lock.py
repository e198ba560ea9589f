"""Catalogs as files: the lock that is committed, and reading one, or a declaration file, back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from eventtracking_catalog.declaration import Declaration
from eventtracking_catalog.files import FileError, sources_of
from eventtracking_catalog.registry import Registry

__all__ = ["Contents", "lock_text", "read_catalog"]

Contents = dict[str, dict[str, Declaration]]
"""Declarations by kind (`event`, `context`) and name."""

_FORMAT: Final = 1
_DERIVED: Final = ("schema", "docs", "name", "declared_at")
"""Keys of a document that follow from the others."""


def lock_text(registry: Registry) -> str:
    """Write every declaration of a registry as JSON, the same for the same declarations."""
    tables = {f"{kind}s": _tables(registry, kind) for kind in ("event", "context")}
    return json.dumps({"format": _FORMAT, **tables}, indent=2, sort_keys=True) + "\n"


def _tables(registry: Registry, kind: str) -> dict[str, Any]:
    found = {}
    for declaration in registry.all(kind):
        document = declaration.document()
        del document["declared_at"], document["name"]
        found[declaration.name] = document
    return found


def read_catalog(path: str | Path) -> Contents:
    """Read a lock, or a declaration file.

    Raises:
        FileError: If it cannot be read.
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise FileError(f"cannot be read: {getattr(error, 'strerror', 'no UTF-8')}") from error
    if file.suffix == ".json":
        text = _without_derived(text)
    found: Contents = {"event": {}, "context": {}}
    for source in sources_of(text, file.suffix, str(path)):
        found[source.kind][source.name] = source.declaration
    return found


def _without_derived(text: str) -> str:
    """Leave out of a lock the keys that a declaration file does not have.

    Raises:
        FileError: If the lock is of a later format.
    """
    try:
        tables = json.loads(text)
    except (ValueError, RecursionError):
        return text  # told of when it is read
    if not isinstance(tables, Mapping) or "format" not in tables:
        return text
    if tables["format"] != _FORMAT:
        raise FileError(f"lock of format {tables['format']!r:.20}; this version knows {_FORMAT}")
    kept: dict[str, Any] = {}
    for key, named in tables.items():
        if key != "format" and isinstance(named, Mapping):
            kept[key] = {name: _kept(table) for name, table in named.items()}
    return json.dumps(kept)


def _kept(table: Any) -> Any:
    if not isinstance(table, Mapping):
        return table
    return {key: value for key, value in table.items() if key not in _DERIVED}
