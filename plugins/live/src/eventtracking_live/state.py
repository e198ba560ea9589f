"""The state of a tracker in one process, as it goes over the socket."""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Collection, Mapping
from typing import Any

import attrs
import msgspec

from eventtracking import Counts, Tracker

__all__ = ["Failing", "Numbers", "RouteState", "State", "state_of"]


class Numbers(msgspec.Struct):
    """The counts of a route."""

    received: int = 0
    delivered: int = 0
    filtered: int = 0
    failed: int = 0
    dead_lettered: int = 0
    pending: int = 0
    reasons: dict[str, int] = msgspec.field(default_factory=dict)

    @classmethod
    def of(cls, counts: Counts) -> Numbers:
        """Copy counts."""
        made = cls(reasons=dict(counts.reasons))
        for name in NAMES:
            setattr(made, name, getattr(counts, name))
        return made

    @property
    def missing(self) -> int:
        """How many events are not accounted for."""
        known = self.delivered + self.filtered + self.failed + self.dead_lettered + self.pending
        return self.received - known

    def add(self, other: Numbers) -> None:
        """Add the counts of another process."""
        for name in NAMES:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for text, count in other.reasons.items():
            self.reasons[text] = self.reasons.get(text, 0) + count


NAMES = ("received", "delivered", "filtered", "failed", "dead_lettered", "pending")


class Failing(msgspec.Struct):
    """A child that fails just now; without failures, one whose destination asked for a pause."""

    route: str
    failures: int = 0
    last_error: str = ""
    next_attempt_in_s: float = 0.0


class RouteState(msgspec.Struct):
    """A route, and how its router stands."""

    path: str
    plugin: str | None = None
    store: str | None = None
    """The identity of the store that its counts are read from; None if they are the process's."""
    oldest_pending_s: float | None = None
    bytes: int = 0
    capacity_bytes: int = 0
    delivered_by: str = ""
    failing: list[Failing] = msgspec.field(default_factory=list)


class State(msgspec.Struct):
    """All of one process."""

    pid: int
    host: str
    routes: list[RouteState]
    own: dict[str, Numbers]
    """The counts of this process alone."""
    stores: dict[str, dict[str, Numbers]] = msgspec.field(default_factory=dict)
    """The counts of each store that was asked for."""


def state_of(tracker: Tracker, skip: Collection[str] = ()) -> State:
    """Read the state of a tracker. Nothing is opened.

    Args:
        skip: The stores whose counts are known already.
    """
    routes, stores = [], {}
    for view in tracker.routes():
        route = _route_state(view)
        routes.append(route)
        if route.store is not None and route.store not in skip:
            found = _counts_of(view.backend)
            if found is not None:
                stores[route.store] = found
    own = {path: Numbers.of(counts) for path, counts in tracker.stats(shared=False).items()}
    return State(os.getpid(), socket.gethostname(), routes, own, stores)


def _counts_of(router: Any) -> dict[str, Numbers] | None:
    try:
        return {path: Numbers.of(counts) for path, counts in router.counts().items()}
    except Exception:  # noqa: BLE001 - a store that is busy now is read the next time
        return None


def _route_state(view: Any) -> RouteState:
    route = RouteState(view.path, view.plugin)
    status = _plain(view.backend)
    if status is None:
        return route
    route.oldest_pending_s = status.get("oldest_pending_s")
    route.bytes = status.get("bytes") or 0
    route.capacity_bytes = status.get("capacity_bytes") or 0
    route.delivered_by = _who(status.get("delivered_by"))
    route.failing = msgspec.convert(status.get("failing") or [], list[Failing], strict=False)
    if status.get("shared"):
        wanted = sorted(dict(getattr(view.backend, "exclusive", dict)()).items())
        text = repr((view.path, wanted))
        route.store = hashlib.sha256(text.encode()).hexdigest()[:16]
    return route


def _plain(router: Any) -> dict[str, Any] | None:
    """Ask a router how it stands, in plain values; None if it cannot tell."""
    ask = getattr(router, "status", None)
    if ask is None:
        return None
    try:
        status = ask()
        if attrs.has(type(status)):
            return attrs.asdict(status)
    except Exception:  # noqa: BLE001 - one router that cannot tell must not hide the others
        return None
    return dict(status) if isinstance(status, Mapping) else None


def _who(process: Any) -> str:
    if isinstance(process, Mapping):
        return f"{process.get('pid', '?')}@{process.get('host', '?')}"
    return "" if process is None else str(process)
