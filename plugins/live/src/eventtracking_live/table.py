"""The table of `top`: a row for each route, in plain text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import attrs

from eventtracking_live.client import Picture
from eventtracking_live.state import Failing, Numbers, RouteState

__all__ = ["COLUMNS", "SORTS", "Row", "head", "render", "rows_of"]

COLUMNS: Final = ("in/s", "out/s", "pending", "oldest", "failed", "dead", "missing")
SORTS: Final = ("tree", "in/s", "out/s", "pending", "failed", "dead")


@attrs.frozen
class Row:
    """One route."""

    path: str
    label: str
    numbers: tuple[float | None, ...]
    """In the order of `COLUMNS`."""
    note: str

    @property
    def cells(self) -> tuple[str, ...]:
        """The numbers as text."""
        incoming, out, pending, oldest, failed, dead, missing = self.numbers
        return (
            _rate(incoming),
            _rate(out),
            str(pending),
            "" if oldest is None else duration(oldest),
            str(failed),
            str(dead),
            str(missing),
        )


def rows_of(
    picture: Picture, before: Picture | None, elapsed_s: float, sort: str = "tree", search: str = ""
) -> list[Row]:
    """Make the rows: the routes as a tree, or sorted by a column, largest first."""
    rows = []
    for path, route in picture.routes.items():
        if search and search not in path:
            continue
        numbers = picture.counts.get(path, Numbers())
        old = before.counts.get(path, Numbers()) if before is not None else None
        rows.append(_row(route, numbers, old, elapsed_s, flat=sort != "tree" or bool(search)))
    if sort != "tree":
        index = COLUMNS.index(sort)
        rows.sort(key=lambda row: row.numbers[index] or 0, reverse=True)
    return rows


def _row(
    route: RouteState, numbers: Numbers, old: Numbers | None, elapsed_s: float, flat: bool
) -> Row:
    depth = route.path.count("/") + 1 if route.path else 0
    name = route.path if flat else route.path.rpartition("/")[2]
    label = name or "(all)"
    label = label if flat else "  " * depth + label
    plugin = f" [{route.plugin}]" if route.plugin else ""
    rates: tuple[float | None, float | None] = (None, None)
    if old is not None and elapsed_s > 0:
        rates = (
            max(numbers.received - old.received, 0) / elapsed_s,
            max(numbers.delivered - old.delivered, 0) / elapsed_s,
        )
    figures = (
        *rates,
        numbers.pending,
        route.oldest_pending_s,
        numbers.failed,
        numbers.dead_lettered,
        numbers.missing,
    )
    return Row(route.path, label + plugin, figures, _note(route))


def _note(route: RouteState) -> str:
    failing = map(_trouble, route.failing)
    who = [f"delivered by {route.delivered_by}"] if route.delivered_by else []
    return "; ".join([*failing, *who])


def _trouble(child: Failing) -> str:
    """Tell of a child that fails, or whose destination asked for a pause, which is no failure."""
    after = duration(child.next_attempt_in_s)
    if not child.failures:
        why = f" ({child.last_error})" if child.last_error else ""
        return f"{child.route} is paused{why}; it goes on in {after}"
    return f"{child.route} fails ({child.failures}x): {child.last_error}; next attempt in {after}"


def _rate(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def duration(seconds: float) -> str:
    """Say a duration in its largest unit."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"


def head(picture: Picture) -> str:
    """Say who answered."""
    count = len(picture.processes)
    who = f"{count} process{'' if count == 1 else 'es'}" if count else "no living process"
    silent = f", {len(picture.silent)} did not answer" if picture.silent else ""
    return f"{who}{silent}"


def render(rows: Sequence[Row]) -> list[str]:
    """Lay the rows out in columns."""
    width = max([len("route"), *(len(row.label) for row in rows)])
    widths = [
        max(len(column), *(len(row.cells[index]) for row in rows)) if rows else len(column)
        for index, column in enumerate(COLUMNS)
    ]
    lines = [_line("route".ljust(width), COLUMNS, widths)]
    for row in rows:
        line = _line(row.label.ljust(width), row.cells, widths)
        lines.append(f"{line}  {row.note}".rstrip())
    return lines


def _line(first: str, cells: Sequence[str], widths: Sequence[int]) -> str:
    numbers = (cell.rjust(width) for cell, width in zip(cells, widths, strict=True))
    return "  ".join((first, *numbers))
