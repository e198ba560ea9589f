"""Compare two runs; tell the differences that are not listed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from differences import PROBED, STATEMENTS
from trial import Outcome, normal_line

__all__ = ["probe_differences", "unlisted"]

_SHOWN = 300


def unlisted(before: Outcome, after: Outcome) -> Iterator[str]:
    """Tell each difference between two runs that no row of the guide explains."""
    if not before.log:
        yield "event-tracking has logged nothing, so that nothing was compared"
    for kind in ("xapi", "caliper", "waiting"):
        one, other = getattr(before, kind), getattr(after, kind)
        yield from (f"{kind}: only before: {text[:_SHOWN]}" for text in _more(one, other))
        yield from (
            f"{kind}: only after: {text[:_SHOWN]}"
            for text in _more(other, one)
            if not any(listed.part in text for listed in STATEMENTS)
        )
    lines = [list(map(normal_line, outcome.log)) for outcome in (before, after)]
    if len(lines[0]) != len(lines[1]):
        yield f"log: {len(lines[0])} lines before, {len(lines[1])} after"
    for one, other in zip(*lines, strict=False):
        if one != other:
            yield f"log: before {one[:_SHOWN]}; after {other[:_SHOWN]}"


def _more(one: Counter[str], other: Counter[str]) -> Iterator[str]:
    yield from (one - other).elements()


def probe_differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    """Tell each result of a probe that is not the one that the guide's row has."""
    rows = {row.probe: row.results for row in PROBED}
    for name in sorted({*rows, *before, *after}):
        found = [before.get(name, "no such probe"), after.get(name, "no such probe")]
        wanted = list(rows.get(name, ("no row", "no row")))
        if found != wanted:
            yield f"{name}: before and after are {found}; the guide's row says {wanted}"
