"""The law, checked: `received = delivered + filtered + failed + dead_lettered + pending`, on every
route of a tracker.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Final

import attrs

from eventtracking import Counts, Tracker

__all__ = ["broken_laws", "wait_for_the_law"]

_NAMES: Final = tuple(field.name for field in attrs.fields(Counts) if field.name != "reasons")


def wait_for_the_law(trackers: Iterable[Tracker], timeout_s: float = 5.0) -> list[str]:
    """Return what is wrong with the books of some trackers, once threads have had time to finish
    what they are at.

    Args:
        trackers: Whose books to read.
        timeout_s: For all of them together.

    Returns:
        A line for each route that breaks the law; none if all is well.
    """
    trackers = list(trackers)
    deadline = time.monotonic() + timeout_s
    while True:
        broken = [line for tracker in trackers for line in broken_laws(tracker)]
        if not broken or time.monotonic() > deadline:
            return broken
        time.sleep(0.01)


def broken_laws(tracker: Tracker) -> list[str]:
    """Return what is wrong with the books of one tracker at this moment, a line for each route."""
    try:
        stats = tracker.stats()
    except Exception as error:  # noqa: BLE001 - books that cannot be read account for nothing
        return [f"the counts cannot be read: {type(error).__name__}: {error}"]
    routers = [path for path in stats if _is_router(tracker, path)]
    lines = []
    for path, counts in stats.items():
        below_a_router = any(path == router or path.startswith(f"{router}/") for router in routers)
        wrong = _wrong_with(counts, may_hold=below_a_router)
        if wrong:
            lines.append(f"route {path!r}: {wrong}: {_show(counts)}")
    return lines


def _is_router(tracker: Tracker, path: str) -> bool:
    try:
        tracker.downstream(path)
    except KeyError:
        return False
    return True


def _wrong_with(counts: Counts, may_hold: bool) -> str:
    if not counts.balanced:
        return f"{counts.received - counts.settled - counts.pending:+d} events are unaccounted for"
    if any(getattr(counts, name) < 0 for name in _NAMES):
        return "a count is negative"
    if counts.pending and not may_hold:
        return "events are pending where no router holds them"
    return ""


def _show(counts: Counts) -> str:
    numbers = ", ".join(f"{name}={getattr(counts, name)}" for name in _NAMES)
    reasons = "; ".join(f"{reason} ({count})" for reason, count in counts.reasons.items())
    return f"{numbers}{f' [{reasons}]' if reasons else ''}"
