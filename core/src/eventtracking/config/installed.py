"""The entry points of the installed distributions, read without importing any of them."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import importlib_metadata
import msgspec

from eventtracking.hookspecs import GROUP

__all__ = ["Declaration", "declarations"]

_INFO: Final = (".dist-info", ".egg-info")
_HEADER: Final = re.compile(r"^(Name|Version):(.*)$", re.MULTILINE)
_SECTION: Final = re.compile(rb"^\s*\[\s*%b\s*\]" % GROUP.encode(), re.MULTILINE)


class Declaration(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """The entry point of a plugin, read without importing it."""

    name: str
    module: str
    distribution: str
    version: str
    entry_point: importlib_metadata.EntryPoint
    where: tuple[str, int] = ("", 0)
    """The distribution's folder, and when it changed."""


def declarations() -> tuple[Declaration, ...]:
    """Return the plugins declared now; only folders of the import path that changed are read anew.

    A distribution shadows those of its name in later folders, as its modules do.
    """
    seen: set[str] = set()
    found: list[Declaration] = []
    for entry in sys.path:
        # Python itself passes over entries that are no text, or no folder.
        if isinstance(entry, str):
            folder = entry or os.getcwd()  # noqa: PTH109 - text is looked up
            for distribution, declared in _read(folder, _changed_at(folder)):
                if distribution not in seen:
                    seen.add(distribution)
                    found += declared
    return tuple(found)


def _changed_at(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns  # noqa: PTH116 - a path for each entry of each config costs more
    except (OSError, ValueError):
        return 0


@lru_cache(maxsize=256)
def _read(folder: str, changed_at: int) -> tuple[tuple[str, tuple[Declaration, ...]], ...]:
    """Return the distributions of a folder, by normalized name, and the plugins of each."""
    if not changed_at:
        return ()
    if os.path.isfile(folder):  # noqa: PTH113 - an archive
        found = importlib_metadata.distributions(path=[folder])
        return tuple(
            (_normalized(_name_and_version(one)[0]), _declared(one, folder)) for one in found
        )
    try:
        names = sorted(os.listdir(folder))  # noqa: PTH208 - a path for each file costs more
    except OSError:
        return ()
    is_egg = folder.endswith(".egg")
    infos = [name for name in names if name.endswith(_INFO) or (is_egg and name == "EGG-INFO")]
    return tuple(_of_info(os.path.join(folder, name), name) for name in infos)  # noqa: PTH118 - as above


def _of_info(path: str, name: str) -> tuple[str, tuple[Declaration, ...]]:
    """Read one distribution; most of them have no entry point of ours, and are not read further."""
    normalized = _normalized(name.rpartition(".")[0].partition("-")[0])
    try:
        # Bytes without a buffer: there are hundreds of these files.
        with open(os.path.join(path, "entry_points.txt"), "rb", buffering=0) as file:  # noqa: PTH118, PTH123 - as above
            if not _SECTION.search(file.read()):
                return normalized, ()
    except (OSError, ValueError):
        return normalized, ()
    return normalized, _declared(importlib_metadata.PathDistribution(Path(path)), path)


def _declared(distribution: Any, path: str) -> tuple[Declaration, ...]:
    name, version = _name_and_version(distribution)
    return tuple(_entries(distribution, name, version, path)) if name else ()


def _entries(distribution: Any, name: str, version: str, path: str) -> Iterator[Declaration]:
    for entry_point in distribution.entry_points.select(group=GROUP):
        yield Declaration(
            name=entry_point.name,
            module=entry_point.value,
            distribution=name,
            version=version,
            entry_point=entry_point,
            where=(path, _changed_at(path)),
        )


def _name_and_version(distribution: Any) -> tuple[str, str]:
    """Read the headers `Name` and `Version`; empty after an interrupted installation.

    `distribution.metadata` would import the whole of `email`, which doubles a start.
    """
    try:
        texts = (distribution.read_text(file) for file in ("METADATA", "PKG-INFO", ""))
        headers = next(filter(None, texts), "").partition("\n\n")[0]
    except Exception:  # noqa: BLE001 - a broken distribution must not stop the application
        return "", ""
    found = {key: value.strip() for key, value in _HEADER.findall(headers)}
    return found.get("Name", ""), found.get("Version", "")


def _normalized(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()
