"""The client: asks the processes of a folder, and puts the answers together."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import attrs
import msgspec

from eventtracking import Tracker
from eventtracking_live.folder import living_sockets
from eventtracking_live.state import Numbers, RouteState, State, state_of

__all__ = ["Picture", "connection", "take_picture"]

TIMEOUT_S: Final = 2.0
MAX_ANSWER_BYTES: Final = 64_000_000


@attrs.define
class Picture:
    """All processes and stores at one moment."""

    routes: dict[str, RouteState] = attrs.field(factory=dict)
    counts: dict[str, Numbers] = attrs.field(factory=dict)
    processes: list[State] = attrs.field(factory=list)
    silent: list[str] = attrs.field(factory=list)
    """Processes that live and did not answer."""
    _stores: set[str] = attrs.field(factory=set)

    @property
    def stores(self) -> frozenset[str]:
        """The stores whose counts are in it."""
        return frozenset(self._stores)

    def add(self, state: State) -> None:
        """Add a process."""
        for route in state.routes:
            known = self.routes.setdefault(route.path, route)
            if known is not route:
                _join(known, route)
        self._count(state.own)
        for store, counts in state.stores.items():
            if store not in self._stores:
                self._stores.add(store)
                self._count(counts)

    def _count(self, counts: Mapping[str, Numbers]) -> None:
        for path, numbers in counts.items():
            self.routes.setdefault(path, RouteState(path))
            self.counts.setdefault(path, Numbers()).add(numbers)


def _join(known: RouteState, other: RouteState) -> None:
    """Put together how the routers of two processes stand at one path."""
    if known.store is None:
        known.bytes += other.bytes
        known.capacity_bytes += other.capacity_bytes
    ages = [age for age in (known.oldest_pending_s, other.oldest_pending_s) if age is not None]
    known.oldest_pending_s = max(ages, default=None)
    known.delivered_by = known.delivered_by or other.delivered_by
    seen = {child.route for child in known.failing}
    known.failing += [child for child in other.failing if child.route not in seen]


def take_picture(folder: Path, tracker: Tracker | None = None) -> Picture:
    """Ask every process of the folder; read the stores on disk where no process lives.

    Args:
        tracker: Made from the config, and never opened; it knows the routes and the stores.
    """
    picture = Picture()
    if tracker is not None:
        picture.add(state_of(tracker))
    for path in living_sockets(folder):
        try:
            state = _ask(path, {"ask": "state", "skip": sorted(picture.stores)})
        except (OSError, ValueError):
            picture.silent.append(path.stem.partition("-")[0])
            continue
        picture.add(state)
        picture.processes.append(state)
    return picture


def _ask(path: Path, request: Mapping[str, Any]) -> State:
    with connection(path, request) as lines:
        return msgspec.json.decode(next(lines), type=State)


@contextmanager
def connection(
    path: Path, request: Mapping[str, Any], timeout_s: float | None = TIMEOUT_S
) -> Iterator[Iterator[bytes]]:
    """Send a request; yield the lines of the answer.

    Raises:
        OSError: If the process does not answer in time.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(TIMEOUT_S)
        client.connect(str(path))
        client.sendall(msgspec.json.encode(request) + b"\n")
        client.settimeout(timeout_s)
        with client.makefile("rb") as answer:
            yield _lines(answer)
        with suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)


def _lines(answer: Any) -> Iterator[bytes]:
    while line := answer.readline(MAX_ANSWER_BYTES):
        if not line.endswith(b"\n"):
            raise OSError("the answer is cut off, or too long")
        yield line
