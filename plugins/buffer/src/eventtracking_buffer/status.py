"""How a buffer stands, for people and tools that watch it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

__all__ = ["FailingChild", "Status", "status_of"]


@attrs.frozen(kw_only=True)
class FailingChild:
    """A child whose deliveries fail just now, or that asked for a pause."""

    route: str
    failures: int
    """Failed deliveries in a row."""
    last_error: str
    next_attempt_in_s: float


@attrs.frozen(kw_only=True)
class Status:
    """How a buffer stands."""

    oldest_pending_s: float | None
    """How long the oldest event waits; None if none does."""
    bytes: int
    """Of the events that wait."""
    capacity_bytes: int
    shared: bool
    """Whether the counts are common to several processes."""
    delivered_by: Mapping[str, Any] | None
    """The process that delivers: `pid`, `host`, `since`, `silent_s`; None: this one, or none."""
    failing: tuple[FailingChild, ...]


def status_of(found: Mapping[str, Any], capacity_bytes: int, now: float) -> Status:
    """Make a status of what an engine tells."""
    oldest_at = found.get("oldest_at")
    failing = [
        FailingChild(
            route=lane["route"],
            failures=lane["failures"],
            last_error=lane["last_error"],
            next_attempt_in_s=lane["resumes_in_s"],
        )
        for lane in found.get("lanes", ())
        if lane["failures"] or lane["resumes_in_s"] > 0
    ]
    return Status(
        oldest_pending_s=None if oldest_at is None else max(now - oldest_at, 0.0),
        bytes=found.get("bytes", 0),
        capacity_bytes=capacity_bytes,
        shared=found["shared"],
        delivered_by=found.get("delivered_by"),
        failing=tuple(failing),
    )
