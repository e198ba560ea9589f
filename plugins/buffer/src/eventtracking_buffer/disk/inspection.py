"""A buffer on disk, looked at from a process that does not use it, such as the command line."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import attrs

from eventtracking import Counts
from eventtracking.config import RouteSpec, Spec
from eventtracking_buffer.dead_letters import Action, DeadLetter, Selection
from eventtracking_buffer.disk.folder import STATE_NAME
from eventtracking_buffer.disk.journal.files import journal_files
from eventtracking_buffer.disk.lock import DeliveryLock
from eventtracking_buffer.disk.state.connection import State
from eventtracking_buffer.disk.state.counts_reader import CountsReader
from eventtracking_buffer.disk.state.letters import letters_in, request, retire
from eventtracking_buffer.disk.state.selections import freeze, history, use
from eventtracking_buffer.router import BufferRouter

__all__ = ["BufferOnDisk", "FailingLeaf", "Status", "buffers_in"]


_UNSERVED: Final = (
    "SELECT (SELECT count(*) FROM dead WHERE state != 'dead') + (SELECT count(*) FROM requests)"
)


@attrs.frozen(kw_only=True)
class FailingLeaf:
    """A leaf that fails just now."""

    route: str
    failures: int
    """How many deliveries in a row."""
    error: str
    next_attempt_in_s: float


@attrs.frozen(kw_only=True)
class Status:
    """How a buffer on disk stands."""

    route: str
    folder: str
    counts: Counts
    pending_bytes: int
    oldest_s: float | None
    """How long the oldest event that no leaf has had waits, in seconds."""
    deliverer: dict[str, Any] | None
    """Its `pid`, `host` and `since`; None if no process delivers."""
    failing: list[FailingLeaf]
    dead_letters: int


@attrs.frozen(kw_only=True)
class BufferOnDisk:
    """Looks into a buffer's files, beside whoever uses them.

    It delivers nothing and starts no thread.
    """

    route: str
    folder: Path
    lanes: tuple[str, ...]

    @contextmanager
    def _state(self) -> Iterator[State | None]:
        """Open the state, if the buffer has ever been used."""
        path = self.folder / STATE_NAME
        if not path.exists():
            if not self.folder.is_dir() or not journal_files(self.folder):
                yield None
                return
            path = Path(":memory:")  # its first process died before it made a state
        state = State(path, synced=False)
        try:
            yield state
        finally:
            state.close()

    def dead_letters(self, selection: Selection) -> list[DeadLetter]:
        """Return the dead letters that are meant, oldest first.

        Raises:
            sqlite3.Error, OSError: If the state cannot be read.
        """
        with self._state() as state:
            return [] if state is None else letters_in(state, selection)

    def request(self, selection: Selection, wanted: str, target: str | None = None) -> int:
        """Ask the process that delivers to "replay" or "purge" dead letters; return how many.

        Raises:
            sqlite3.Error, OSError: If the state cannot be written.
        """
        with self._state() as state:
            return 0 if state is None else request(state, selection, wanted, target)

    def freeze(self, name: str, numbers: Collection[int], by: str) -> bool:
        """Keep a selection of dead letters, for any process to use once.

        Return whether there is a state to keep it in.

        Raises:
            sqlite3.Error, OSError: If the state cannot be written.
        """
        with self._state() as state:
            if state is not None:
                freeze(state, name, numbers, by)
            return state is not None

    def use(
        self, name: str, wanted: str, by: str, target: str | None = None
    ) -> tuple[list[int], list[int]]:
        """Ask to "replay" or "purge" the letters of a selection, once.

        Return the numbers that were taken, and those that were not.

        Args:
            target: The leaf to replay them to; None: the one where each died.

        Raises:
            sqlite3.Error, OSError: If the state cannot be written.
        """
        with self._state() as state:
            return ([], []) if state is None else use(state, name, wanted, by, target)

    def history(self, limit: int) -> list[Action]:
        """Return the last replays and purges of selections, the newest first."""
        with self._state() as state:
            return [] if state is None else history(state, limit)

    def counts(self) -> Mapping[str, Counts] | None:
        """Read the counts; None if it has never been used."""
        with self._state() as state:
            if state is None:
                return None
            return CountsReader(self.folder, self.route, self.lanes, state).balance().counts

    def settled(self) -> int | None:
        """Return how many events are final, reading none of the journal; None if never used."""
        with self._state() as state:
            if state is None:
                return None
            return state.snapshot().counts.get(self.route, Counts()).settled

    def waiting_routes(self) -> dict[str, int]:
        """Return how many events wait for each route that the config does not name."""
        query = "SELECT leaf, count(*) FROM retries GROUP BY leaf"
        with self._state() as state:
            rows = [] if state is None else state.rows(query)
        return {lane: count for lane, count in rows if lane not in self.lanes}

    def retire(self, route: str) -> int:
        """Ask for dead letters of what waits for a route that is gone; return how many."""
        with self._state() as state:
            return 0 if state is None else retire(state, route)

    def engine_status(self) -> dict[str, Any] | None:
        """Tell how it stands, at little cost; None if it has never been used."""
        with self._state() as state:
            if state is None:
                return None
            lanes = state.rows("SELECT leaf, failures, last_error, resume_at FROM lanes")
        now = time.time()
        return {
            "shared": True,
            "delivered_by": self.deliverer(),
            "lanes": [
                {"route": r, "failures": f, "last_error": e, "resumes_in_s": max(at - now, 0.0)}
                for r, f, e, at in lanes
            ],
        }

    def unserved(self) -> int:
        """How many dead letters are being replayed or purged, or still wait for it."""
        with self._state() as state:
            return 0 if state is None else int(state.rows(_UNSERVED)[0][0])

    def deliverer(self) -> dict[str, Any] | None:
        """Tell who delivers; None if nobody does."""
        return DeliveryLock(self.folder).holder()

    def status(self) -> Status | None:
        """Tell how it stands; None if it has never been used.

        Raises:
            sqlite3.Error, OSError: If the files cannot be read.
        """
        with self._state() as state:
            if state is None:
                return None
            balance = CountsReader(self.folder, self.route, self.lanes, state).balance()
            deliverer = self.deliverer()
            lanes = state.rows(
                "SELECT leaf, failures, last_error, resume_at FROM lanes"
                " WHERE failures OR last_error <> '' ORDER BY leaf"
            )
            letters = state.rows("SELECT count(*) FROM dead")[0][0]
        now = time.time()
        return Status(
            route=self.route,
            folder=str(self.folder),
            counts=balance.counts.get(self.route, Counts()),
            pending_bytes=balance.pending_bytes,
            oldest_s=None if balance.oldest_at is None else max(now - balance.oldest_at, 0.0),
            deliverer=deliverer,
            failing=[_failing(row, now) for row in lanes] if deliverer is not None else [],
            dead_letters=letters,
        )


def _failing(row: tuple[Any, ...], now: float) -> FailingLeaf:
    leaf, failures, error, resume_at = row
    return FailingLeaf(
        route=leaf, failures=failures, error=error, next_attempt_in_s=max(resume_at - now, 0.0)
    )


def buffers_in(spec: Spec) -> tuple[list[BufferOnDisk], list[str]]:
    """Return the buffers on disk that a config names, and the routes of those in memory."""
    found = [route for route in _walk(spec.routes) if isinstance(route.instance, BufferRouter)]
    on_disk = [
        BufferOnDisk(
            route=route.route,
            folder=Path(route.instance.folder),
            lanes=tuple(_lanes(route)),
        )
        for route in found
        if route.instance.storage == "disk"
    ]
    return on_disk, [route.route for route in found if route.instance.storage == "memory"]


def _walk(routes: Sequence[RouteSpec]) -> Iterator[RouteSpec]:
    for route in routes:
        yield route
        yield from _walk(route.children)


def _lanes(route: RouteSpec) -> Iterator[str]:
    """The paths below a router where events end for it: backends, and the next routers."""
    for child in route.children:
        if child.plugin is None:
            yield from _lanes(child)
        else:
            yield child.route
