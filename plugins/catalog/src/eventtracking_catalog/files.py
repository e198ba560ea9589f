"""Declaration files: TOML or JSON, named by a config or by an entry point."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from eventtracking_catalog.documents import declaration_from
from eventtracking_catalog.registry import OWN_PREFIX, FileLayer, Source, registry

__all__ = ["FileError", "load_layer", "sources_of"]

_TABLES: Final = {"events": "event", "contexts": "context"}


class FileError(ValueError):
    """Raised for a file that cannot be read or holds no declarations."""


def load_layer(path: str | Path) -> FileLayer:
    """Read a file and take its declarations in, for as long as the layer lives.

    Raises:
        FileError: If it cannot be read, or a declaration in it has a problem.
    """
    file = Path(path)
    sources = sources_of(_text_of(file), file.suffix, str(path))
    layer = FileLayer(str(file.resolve()), sources)
    known = registry.layer(layer.path)
    if known is not None:  # two processors name it: the newer text counts for both
        known.sources = sources
        registry.changed()
        return known
    registry.add_layer(layer)
    return layer


def _text_of(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise FileError(f"cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise FileError("cannot be read: it is no UTF-8 text") from error


def sources_of(text: str, suffix: str, place: str) -> list[Source]:
    """Read the declarations of a file's text.

    Raises:
        FileError: If it cannot be parsed, or a declaration in it has a problem.
    """
    tables = _parse(text, suffix)
    unknown = sorted(str(key) for key in tables if key not in _TABLES)
    if unknown:
        raise FileError(f"unknown key {unknown[0]!r}; accepted are events and contexts")
    found: list[Source] = []
    for key, kind in _TABLES.items():
        for name, table in _table(tables, key).items():
            where = f"{place} ({key}.{name})"
            source = Source(name, partial(declaration_from, kind, name, table, where), where, kind)
            found.append(_checked(source, key))
    return found


def _checked(source: Source, key: str) -> Source:
    if not source.name or source.name.startswith(OWN_PREFIX):
        raise FileError(f"{key}: names that begin with {OWN_PREFIX!r} are eventtracking's own")
    problems = source.declaration.problems
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise FileError(f"{key}.{source.name}: {problems[0]}{more}")
    return source


def _table(tables: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = tables.get(key, {})
    if not isinstance(found, Mapping):
        raise FileError(f"{key}: expected a table, found a {type(found).__name__}")
    return found


def _parse(text: str, suffix: str) -> Mapping[str, Any]:
    try:
        found = json.loads(text) if suffix == ".json" else _toml(text)
    except ValueError as error:
        raise FileError(f"cannot be parsed: {error}") from error
    except RecursionError as error:
        raise FileError("cannot be parsed: nested too deeply") from error
    if not isinstance(found, Mapping):
        raise FileError(f"expected a table, found a {type(found).__name__}")
    return found


def _toml(text: str) -> Any:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    return tomllib.loads(text)
