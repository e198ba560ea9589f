"""The counts of every route, as they are shown, and the verdict on a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from eventtracking import Counts
from eventtracking_cli._terminal import show_numbers

__all__ = ["COLUMNS", "failures_since", "plain_counts", "reasons", "show_counts"]

COLUMNS: Final = ("received", "delivered", "filtered", "failed", "dead_lettered", "pending")
_ROOT: Final = "(all)"
"""What the root is called, whose path is empty."""


def show_counts(stats: Mapping[str, Counts]) -> None:
    """Print the counts of every route: a table, or blocks where the terminal is too
    narrow for it.
    """
    rows = [
        (path or _ROOT, *(getattr(counts, column) for column in COLUMNS))
        for path, counts in stats.items()
    ]
    headings = [column.replace("_", "-") for column in COLUMNS]
    show_numbers(("route", *headings), rows, always=COLUMNS[0])


def plain_counts(stats: Mapping[str, Counts]) -> dict[str, dict[str, Any]]:
    """Return the counts as plain values for JSON, by path; the root is `""`."""
    return {
        path: {
            **{column: getattr(counts, column) for column in COLUMNS},
            "reasons": dict(counts.reasons),
        }
        for path, counts in stats.items()
    }


def reasons(stats: Mapping[str, Counts]) -> list[str]:
    """Say why events were filtered, failed or dead-lettered, one line a route and reason."""
    return [
        f"{path or _ROOT}: {reason} ({count})"
        for path, counts in stats.items()
        for reason, count in counts.reasons.items()
    ]


def failures_since(before: Mapping[str, Counts], after: Mapping[str, Counts]) -> int:
    """Count, over all routes, the events that have failed for good since, dead letters included."""
    nothing = Counts()
    return sum(
        counts.failed
        + counts.dead_lettered
        - before.get(path, nothing).failed
        - before.get(path, nothing).dead_lettered
        for path, counts in after.items()
    )
