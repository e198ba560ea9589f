"""Batches within the limits of a backend."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from eventtracking.event import Event

__all__ = ["batches_of"]


def batches_of(backend: Any, events: Sequence[Event]) -> Iterator[Sequence[Event]]:
    """Cut events into batches within a backend's `max_batch_events` and `max_batch_bytes`."""
    most, limit = _limit(backend, "max_batch_events"), _limit(backend, "max_batch_bytes")
    if limit is None:
        step = most or len(events)
        yield from (events[start : start + step] for start in range(0, len(events), step))
        return
    batch: list[Event] = []
    total = 0
    for event in events:
        size = len(event.to_json().encode("utf-8", "replace"))
        if batch and (total + size > limit or len(batch) == most):
            yield batch
            batch, total = [], 0
        batch.append(event)
        total += size
    yield batch


def _limit(backend: Any, name: str) -> int | None:
    value = getattr(backend, name, None)
    return value if isinstance(value, int) and value > 0 else None
