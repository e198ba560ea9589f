"""A buffer on disk, looked at from a process that does not use it: the command line, a monitor."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

from eventtracking import Counts
from eventtracking.config import RouteSpec, Spec
from eventtracking_buffer._books import Books
from eventtracking_buffer._folder import STATE_NAME, DeliveryLock
from eventtracking_buffer._letters import letters_in, request
from eventtracking_buffer._state import State
from eventtracking_buffer.dead_letters import DeadLetter, Selection
from eventtracking_buffer.router import BufferRouter

__all__ = ["BufferOnDisk", "FailingLeaf", "Status", "buffers_in"]


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
    leaves: tuple[str, ...]

    @contextmanager
    def _state(self) -> Iterator[State | None]:
        """Open the state, if the buffer has ever been used."""
        path = self.folder / STATE_NAME
        if not path.exists():
            yield None
            return
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

    def request(self, selection: Selection, what: str) -> int:
        """Ask the process that delivers to "replay" or "purge" dead letters.

        Return how many are meant.

        Raises:
            sqlite3.Error, OSError: If the state cannot be written.
        """
        with self._state() as state:
            return 0 if state is None else request(state, selection, what)

    def unserved(self) -> int:
        """How many dead letters are being replayed or purged, or still wait for it."""
        with self._state() as state:
            return (
                0
                if state is None
                else int(state.rows("SELECT count(*) FROM dead WHERE state != 'dead'")[0][0])
            )

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
            balance = Books(self.folder, self.route, self.leaves, state).balance()
            deliverer = self.deliverer()
            lanes = state.rows(
                "SELECT leaf, failures, last_error, resume_at FROM lanes WHERE failures ORDER BY"
                " leaf"
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
            route=route.route, folder=Path(route.instance.folder), leaves=tuple(_leaves(route))
        )
        for route in found
        if route.instance.storage == "disk"
    ]
    return on_disk, [route.route for route in found if route.instance.storage == "memory"]


def _walk(routes: Sequence[RouteSpec]) -> Iterator[RouteSpec]:
    for route in routes:
        yield route
        yield from _walk(route.children)


def _leaves(route: RouteSpec) -> Iterator[str]:
    """The paths below a router where events end for it: backends, and the next routers."""
    for child in route.children:
        if child.plugin is None:
            yield from _leaves(child)
        else:
            yield child.route
