"""The table: what every benchmark gives to `make bench`, and how it is shown.

A benchmark is a file `bench_NAME.py` beside this one. `run.py` finds it by its name and runs it as
a program of its own, so it can neither slow nor break the others. The whole of it::

    from collections.abc import Iterator

    from _table import Row, Unavailable, main


    def measure(quick: bool) -> Iterator[Row]:
        if not there_is_a_server():
            raise Unavailable("needs mongod; `make services` fetches it")
        ours, theirs = ...
        yield Row("1,000 events stored", "eventtracking", ours, "ms")
        yield Row("1,000 events stored", "the predecessor", theirs, "ms").judged(
            theirs / ours, at_least=3
        )


    if __name__ == "__main__":
        main(measure)
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

__all__ = ["Row", "Unavailable", "main", "markdown"]


class Unavailable(Exception):  # noqa: N818 - says why, as a line of the table
    """Raised by `measure` if it cannot measure here: what is missing, and how to get it."""


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table."""

    group: str
    """What is measured. Lines with the same one stand together."""
    label: str
    """Who or which: `event-tracking 4.0.2`, `100 routes`."""
    value: float
    unit: str
    ratio: float | None = None
    """How many times; of what, the note or the group says. Usually this line's value over ours."""
    target: str = ""
    """What the ratio should be, in words."""
    ok: bool | None = None
    """Whether it is. None: there is no target."""
    note: str = ""

    def compared(self, ratio: float) -> Row:
        """Add a ratio without a target."""
        return dataclasses.replace(self, ratio=ratio)

    def judged(
        self, ratio: float, at_least: float | None = None, at_most: float | None = None
    ) -> Row:
        """Add a ratio with its target."""
        if at_least is not None:
            return dataclasses.replace(
                self, ratio=ratio, target=f"at least {at_least:g}", ok=ratio >= at_least
            )
        if at_most is not None:
            return dataclasses.replace(
                self, ratio=ratio, target=f"at most {at_most:g}", ok=ratio <= at_most
            )
        return self.compared(ratio)


def main(measure: Callable[[bool], Iterable[Row]]) -> None:
    """Run one benchmark as a program: for people as a table, for `run.py` as JSON lines."""
    parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="fewer and shorter rounds: seconds, and less exact"
    )
    parser.add_argument("--json", action="store_true", help="print each row as a line of JSON")
    options = parser.parse_args()
    rows = []
    try:
        for row in measure(options.quick):
            rows.append(row)
            if options.json:
                print(json.dumps(dataclasses.asdict(row)), flush=True)
    except Unavailable as reason:
        if options.json:
            print(json.dumps({"unavailable": str(reason)}), flush=True)
        else:
            print(f"not measured: {reason}")
    if not options.json:
        print(markdown(rows))


def markdown(rows: Sequence[Row]) -> str:
    """Write the rows as a Markdown table that is also pleasant to read in a terminal."""
    cells = [["what", "who", "value", "ratio", "wanted", ""]]
    group = ""
    for row in rows:
        cells.append([row.group if row.group != group else "", *_cells(row)])
        group = row.group
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    rule = ["-" * width for width in widths]
    rule[2], rule[3] = f"{rule[2][:-1]}:", f"{rule[3][:-1]}:"
    return "\n".join(_line(line, widths) for line in [cells[0], rule, *cells[1:]])


def _cells(row: Row) -> list[str]:
    verdict = {True: "ok", False: "MISSED", None: ""}[row.ok]
    ratio = "" if row.ratio is None else f"{_number(row.ratio)}x"
    return [
        row.label,
        f"{_number(row.value)} {row.unit}",
        ratio,
        row.target,
        " ".join(filter(None, (verdict, row.note))),
    ]


def _number(value: float) -> str:
    """Show three significant digits, and all of those before the point."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    right = (2, 3)  # value and ratio
    padded: list[Any] = [
        text.rjust(width) if column in right else text.ljust(width)
        for column, (text, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return f"| {' | '.join(padded)} |"
