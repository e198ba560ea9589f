"""The totals: the counts of the processes that have ended, so that no counter ever falls.

One housekeeper at a time, the process that has the lock `housekeeper.lock`, adds the sheet of a
dead process to the totals and removes it. A crash in between must neither lose nor double a sheet:

1. the totals are replaced, whole, with the sheet in their sum and its name among `folded`;
2. the sheet is removed. A reader skips a sheet that is named there, and the next housekeeper
   removes it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Final

import msgspec

from eventtracking_prometheus._folder import LOCK_SUFFIX, is_dead
from eventtracking_prometheus._sheet import SHEET_SUFFIX, Sheet, read
from eventtracking_prometheus._tally import Tally, add_up

__all__ = ["STORE_PREFIX", "Reader", "Tallies", "Totals", "fold_dead"]

Tallies = dict[str, Tally]
"""The counts of each tracker, by its label."""

_NAME: Final = "totals.json"
_FORMAT: Final = 1
_PATIENCE: Final = 20
"""How often a reader begins anew because the housekeeper was at work."""
STORE_PREFIX: Final = "store-"
"""The sheets of stores: common to all processes, they outlive the one that wrote them."""


class Totals(msgspec.Struct):
    """The sum of the folded sheets, by tracker, and the names of those sheets."""

    trackers: dict[str, Tally] = msgspec.field(default_factory=dict)
    folded: list[str] = msgspec.field(default_factory=list)
    format: int = _FORMAT


def _load(folder: Path) -> Totals:
    """Read the totals; begin anew where there are none, or none that this version can read."""
    try:
        totals = msgspec.json.decode((folder / _NAME).read_bytes(), type=Totals)
    except (OSError, ValueError):
        return Totals()
    return totals if totals.format == _FORMAT else Totals()


def _sheet_names(folder: str) -> list[str]:
    """Name the sheets of a folder."""
    return [name for name in os.listdir(folder) if name.endswith(SHEET_SUFFIX)]  # noqa: PTH208 - names alone, on the way of a scrape


def fold_dead(folder: Path) -> int:
    """Add the sheets of dead processes to the totals. Return how many there were.

    Only the housekeeper may call it.

    Raises:
        OSError: If the file system refuses; nothing is lost then.
    """
    totals = _load(folder)
    names = {name.removesuffix(suffix) for name, suffix in _own_files(folder)}
    dead = [name for name in names if is_dead(folder / f"{name}{LOCK_SUFFIX}")]
    new = [name for name in dead if name not in totals.folded]
    sheets = [sheet for name in new if (sheet := read(f"{folder / name}{SHEET_SUFFIX}"))]
    for tracker, tally in add_up(sheets):
        tally.bury()
        totals.trackers.setdefault(tracker, Tally()).add(tally)
    if dead:
        totals.folded = dead
        _replace(folder / _NAME, msgspec.json.encode(totals))
    for name in dead:
        for suffix in (SHEET_SUFFIX, LOCK_SUFFIX, ".new"):
            (folder / f"{name}{suffix}").unlink(missing_ok=True)
    return len(new)


def _own_files(folder: Path) -> Iterator[tuple[str, str]]:
    """Name the sheets and locks of processes, `1234-ab12cd34`."""
    for path in folder.iterdir():
        if path.suffix in (SHEET_SUFFIX, LOCK_SUFFIX) and path.name[0].isdigit():
            yield path.name, path.suffix


def _replace(path: Path, content: bytes) -> None:
    beside = path.with_suffix(".new")
    beside.write_bytes(content)
    beside.replace(path)


class Reader:
    """Adds up a folder: the totals, the sheets of living processes, the sheets of stores."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._version: tuple[int, int] | None = None
        self._totals = Totals()
        self._folded: frozenset[str] = frozenset()

    @classmethod
    @lru_cache(maxsize=8)
    def of(cls, folder: Path) -> Reader:
        """Return the reader of a folder; it remembers the totals that it has read."""
        return cls(folder)

    def read(self) -> tuple[Tallies, int]:
        """Return a tally for each tracker, and the number of processes.

        Never counts a sheet twice, nor misses one, while the housekeeper works: if the totals have
        changed meanwhile, it begins anew.
        """
        for _ in range(_PATIENCE):
            before = self._totals_version()
            sheets, processes = self._sheets()
            if self._totals_version() == before:
                break
        found: Tallies = {}
        for tracker, total in self._totals.trackers.items():
            found[tracker] = Tally()
            found[tracker].add(total)
        for tracker, tally in add_up(sheets):
            found.setdefault(tracker, Tally()).add(tally)
        return found, processes

    def _totals_version(self) -> tuple[int, int] | None:
        try:
            stat = (self._folder / _NAME).stat()
            version = (stat.st_ino, stat.st_mtime_ns)
        except OSError:
            version = None
        if version != self._version or version is None:
            self._version, self._totals = version, _load(self._folder)
            self._folded = frozenset(f"{name}{SHEET_SUFFIX}" for name in self._totals.folded)
        return version

    def _sheets(self) -> tuple[list[Sheet], int]:
        folder = str(self._folder)
        try:
            names = [name for name in _sheet_names(folder) if name not in self._folded]
        except OSError:
            return [], 0
        found = [sheet for name in names if (sheet := read(f"{folder}/{name}"))]
        return found, sum(not name.startswith(STORE_PREFIX) for name in names)
