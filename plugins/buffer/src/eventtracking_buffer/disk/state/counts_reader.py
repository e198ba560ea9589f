"""The counts of a buffer on disk, as any process can read them: those of the state, and the events
of the journal beyond it.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import attrs

from eventtracking import Counts
from eventtracking_buffer.disk.journal.files import journal_files
from eventtracking_buffer.disk.journal.reader import JournalReader
from eventtracking_buffer.disk.state.connection import Snapshot, State

__all__ = ["Balance", "CountsReader"]

_LOOKS = 200


@attrs.frozen(kw_only=True)
class Balance:
    """How a buffer on disk stands."""

    counts: dict[str, Counts]
    pending: int
    pending_bytes: int
    oldest_at: float | None
    """When the oldest event that waits was stored, in seconds since 1970."""


class CountsReader:
    """Reads the counts. Only what has come since the last time is read from the journal.

    For one thread.
    """

    def __init__(self, folder: Path, path: str, lanes: Collection[str], state: State) -> None:
        self._folder = folder
        self._path = path
        self._lanes = tuple(lanes)
        self._state = state
        self._readers: dict[str, JournalReader] = {}
        self.last: Balance | None = None
        """The last one that was measured."""

    def balance(self) -> Balance:
        """Measure.

        Raises:
            OSError, sqlite3.Error: If the medium refuses.
        """
        for _ in range(_LOOKS):
            snapshot = self._state.snapshot()
            try:
                balance = self._measure(snapshot)
            except FileNotFoundError:  # the deliverer has just deleted a file that it is done with
                continue
            # A file that was deleted between the two has its events in the state since before that,
            # and not in the snapshot.
            if (
                self._state.received(self._path)
                == snapshot.counts.get(self._path, Counts()).received
            ):
                self.last = balance
                return balance
        raise OSError(f"the journal in {self._folder} does not hold still")

    def _measure(self, snapshot: Snapshot) -> Balance:
        received = pending = waiting_bytes = 0
        oldest: float | None = None
        there = set(journal_files(self._folder))
        lost = {file for _, file in snapshot.cursors} - there  # deleted, but not by a deliverer
        names = sorted((there | lost) - snapshot.retired)
        self._forget(names)
        lanes = snapshot.lanes or self._lanes  # this process may have a newer config
        retried: dict[str, list[int]] = {}
        for file, at in snapshot.retried:
            retried.setdefault(file, []).append(at)
        for name in names:
            places = [snapshot.cursors.get((lane, name), (0, 0)) for lane in lanes]
            if name in lost:
                received += max(places)[1]
                pending += len(retried.get(name, ()))
                continue
            offset, records = min(places)
            end, total = self._count(name, max(places))
            received += total
            pending += total - records
            behind = sum(at < offset for at in retried.get(name, ()))
            pending += behind
            # Of those that are retried only the places are known: each counts as the mean of them.
            waiting_bytes += end - offset + (behind * offset // records if records else 0)
            if oldest is None and total > records:
                oldest = self._stored_at(name, offset)
        pending += snapshot.reopened
        own = snapshot.counts.get(self._path, Counts()) + Counts(received=received, pending=pending)
        return Balance(
            counts={**snapshot.counts, self._path: own},
            pending=pending,
            pending_bytes=waiting_bytes,
            oldest_at=oldest,
        )

    def _count(self, name: str, known: tuple[int, int]) -> tuple[int, int]:
        """Return the end of the last whole record of a file, and how many events there are."""
        reader = self._readers.setdefault(name, JournalReader(self._folder / name))
        if known[0] >= reader.offset:  # equal: damage may have changed how many there are
            reader.offset, reader.records = known
        if reader.size() > reader.offset:
            reader.count()
        return reader.offset, reader.records

    def _stored_at(self, name: str, offset: int) -> float | None:
        record = self._readers[name].record_at(offset)
        return record.stored_at if record is not None and record.kind else None

    def _forget(self, names: Collection[str]) -> None:
        for name in [name for name in self._readers if name not in names]:
            del self._readers[name]
