"""The histograms of delivered batches, kept without a lock.

A router reports each batch from any of its threads. All numbers of a route stand side by side in
one integer, so that a report is one addition: CPython looks for other threads and signals only at
calls and backward jumps, not within `cell.total += unit`.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

__all__ = ["EVENTS_BOUNDS", "SECONDS_BOUNDS", "WIDTH", "Histograms"]

SECONDS_BOUNDS: Final = (0.005, 0.025, 0.1, 0.25, 1.0, 2.5, 10.0, 30.0, 60.0)
EVENTS_BOUNDS: Final = (1, 10, 50, 100, 250, 500, 1000)
_SECONDS_LANES: Final = len(SECONDS_BOUNDS) + 1
_EVENTS_AT: Final = _SECONDS_LANES + 1
WIDTH: Final = _EVENTS_AT + len(EVENTS_BOUNDS) + 2
"""Numbers of one route: buckets and sum (microseconds), then buckets and sum (events)."""
_LANE_BITS: Final = 64
_LANE_MASK: Final = (1 << _LANE_BITS) - 1


class _Cell:
    __slots__ = ("total",)

    def __init__(self) -> None:
        self.total = 0


class Histograms:
    """How long the batches of each route took, and how many events they had."""

    def __init__(self) -> None:
        self._cells: dict[str, _Cell] = {}

    def add(self, route: str, count: int, duration_s: float) -> None:
        """Enter one batch. Safe from any thread and signal handler."""
        seconds_lane = bisect_left(SECONDS_BOUNDS, duration_s)
        events_lane = _EVENTS_AT + bisect_left(EVENTS_BOUNDS, count)
        unit = (
            (1 << (_LANE_BITS * seconds_lane))
            + (int(duration_s * 1e6) << (_LANE_BITS * _SECONDS_LANES))
            + (1 << (_LANE_BITS * events_lane))
            + (count << (_LANE_BITS * (WIDTH - 1)))
        )
        cell = self._cells.get(route) or self._cells.setdefault(route, _Cell())
        cell.total += unit

    def read(self) -> dict[str, list[int]]:
        """Return the numbers of each route."""
        return {route: _lanes(cell.total) for route, cell in list(self._cells.items())}


def _lanes(total: int) -> list[int]:
    return [(total >> (_LANE_BITS * lane)) & _LANE_MASK for lane in range(WIDTH)]


def parts(numbers: list[int]) -> tuple[list[int], float, list[int], int]:
    """Take the numbers apart: buckets and sum of the seconds, buckets and sum of the events."""
    seconds = numbers[:_SECONDS_LANES]
    events = numbers[_EVENTS_AT : WIDTH - 1]
    return seconds, numbers[_SECONDS_LANES] / 1e6, events, numbers[WIDTH - 1]
