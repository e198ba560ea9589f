"""The publisher: writes the counts of a tracker to sheets, for whichever process is scraped."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import attrs

from eventtracking import Counts, Tracker
from eventtracking_prometheus._folder import LOCK_SUFFIX, FileLock, new_lock
from eventtracking_prometheus._histograms import WIDTH, Histograms
from eventtracking_prometheus._sheet import NUMBERS, SHEET_SUFFIX, Layout, Notes, write
from eventtracking_prometheus._totals import STORE_PREFIX

__all__ = ["Publisher"]

_VERSION: Final = version("eventtracking")
_DEAD_MARK: Final = "dead_lettered: "
_COUNTS: Final = NUMBERS[:6]


@attrs.define
class _Arrivals:
    """How many events ever became dead letters: a count that a replay takes back must not fall."""

    total: int = 0
    last: int = 0

    def see(self, counts: Counts) -> int:
        """Take a look at the counts; return the arrivals so far."""
        self.total += max(counts.dead_lettered - self.last, 0)
        self.last = counts.dead_lettered
        told = sum(n for text, n in counts.reasons.items() if text.startswith(_DEAD_MARK))
        self.total = max(self.total, told)
        return self.total


@attrs.define(eq=False)
class Publisher:
    """Writes one tracker's counts in one process, and the stores that no other process reads."""

    label: str
    folder: Path
    histograms: Histograms = attrs.field(factory=Histograms)
    _lock: FileLock | None = None
    _stores: dict[str, FileLock] = attrs.field(factory=dict)
    _arrivals: dict[tuple[str, str], _Arrivals] = attrs.field(factory=dict)

    def publish(self, tracker: Tracker) -> None:
        """Write the sheets anew.

        Raises:
            OSError: If the file system refuses.
        """
        if self._lock is None:
            self._lock = new_lock(self.folder)
        status = {view.path: _status(view.backend) for view in tracker.routes()}
        own = {path: found for path, found in status.items() if not _is_shared(found)}
        sheet = self._lock.path.with_suffix(SHEET_SUFFIX)
        counts = tracker.stats(shared=False)
        self._write(sheet, "", counts, own, self.histograms.read())
        self.publish_stores(tracker)

    def publish_stores(self, tracker: Tracker) -> None:
        """Write the sheets of the stores that no other process reads."""
        for view in tracker.routes():
            status = _status(view.backend)
            if _is_shared(status):
                self._publish_store(view, status)

    def release_stores(self) -> None:
        """Leave the stores to other processes. The sheet of this process stays its own.

        A tracker that gets a new config keeps its counts, and so must its sheet: its lock ends with
        the process.
        """
        for lock in self._stores.values():
            lock.release()
        self._stores.clear()

    def forget(self) -> None:
        """Let go, in a forked child, of the parent's sheet."""
        for lock in (self._lock, *self._stores.values()):
            if lock is not None:
                lock.forget()

    def _publish_store(self, view: Any, status: Any) -> None:
        """Write the counts of a store, unless another process does."""
        name = STORE_PREFIX + _identity(self.label, view)
        if name not in self._stores:
            lock = FileLock.take(self.folder / f"{name}{LOCK_SUFFIX}")
            if lock is None:
                return
            self._stores[name] = lock
        try:
            counts = view.backend.counts()
        except Exception:  # noqa: BLE001 - a store that is busy now keeps the sheet of a second ago
            return
        sheet = self.folder / f"{name}{SHEET_SUFFIX}"
        self._write(sheet, name, counts, {view.path: status}, {})

    def _write(
        self,
        sheet: Path,
        store: str,
        counts: Mapping[str, Counts],
        status: Mapping[str, Any],
        histograms: Mapping[str, list[int]],
    ) -> None:
        reasons = [(path, text) for path, found in counts.items() for text in found.reasons]
        layout = Layout(
            tracker=self.label,
            routes=tuple(counts),
            reasons=tuple(reasons),
            histograms=tuple(histograms),
            width=WIDTH,
        )
        oldest = {
            path: float(age_s)
            for path, found in status.items()
            if (age_s := _field(found, "oldest_pending_s")) is not None
        }
        notes = Notes(pid=os.getpid(), version=_VERSION, oldest_s=oldest)
        write(sheet, layout, notes, self._numbers(store, layout, counts, status, histograms))

    def _numbers(
        self,
        store: str,
        layout: Layout,
        counts: Mapping[str, Counts],
        status: Mapping[str, Any],
        histograms: Mapping[str, list[int]],
    ) -> Iterator[int]:
        for path, found in counts.items():
            for name in _COUNTS:
                yield getattr(found, name)
            yield self._arrivals.setdefault((store, path), _Arrivals()).see(found)
            yield int(_field(status.get(path), "bytes") or 0)
            yield int(_field(status.get(path), "capacity_bytes") or 0)
        for path, text in layout.reasons:
            yield counts[path].reasons[text]
        for numbers in histograms.values():
            yield from numbers


def _status(backend: Any) -> Any:
    """Ask a router how it stands; None if it cannot tell."""
    ask = getattr(backend, "status", None)
    if ask is None:
        return None
    try:
        return ask()
    except Exception:  # noqa: BLE001 - one router that cannot tell must not hide the others
        return None


def _field(status: Any, name: str) -> Any:
    """Read a field of a status, which may be an object or a mapping; None if it has none."""
    return status.get(name) if isinstance(status, Mapping) else getattr(status, name, None)


def _is_shared(status: Any) -> bool:
    """Tell whether a router's counts are common to all processes."""
    return bool(_field(status, "shared"))


def _identity(label: str, view: Any) -> str:
    """Name a store by its exclusive resources, such as its folder."""
    wanted = dict(getattr(view.backend, "exclusive", dict)())
    text = repr((label, view.path, sorted(wanted.items())))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
