"""Growth: how the cost of one event grows with routes, with patterns, and with what is
installed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from _rounds import best_of_rounds
from _table import Row, main

WORKER = Path(__file__).resolve().parent / "worker_ours.py"

GROWTHS: tuple[tuple[str, str, str, Sequence[int], float], ...] = (
    ("routes", "emit to many routes", "routes", (1, 10, 100), 100.0),
    ("patterns", "emit through one filter", "patterns", (1, 10, 100, 1_000), 1.25),
    ("plugins", "emit beside plugins that no config names", "installed", (0, 10, 100), 1.25),
    ("start", "make a tracker beside them", "installed", (0, 10, 100), float("inf")),
)
"""Scenario, title, unit, steps, and how many times the first step the last one may cost."""


def measure(quick: bool) -> Iterator[Row]:
    """Let the steps of each growth take turns; the ratio is that to the first step."""
    for scenario, title, unit, steps, limit in GROWTHS:
        commands: dict[str, Sequence[str | Path]] = {
            str(step): [sys.executable, WORKER, scenario, str(step)] for step in steps
        }
        seconds = best_of_rounds(commands, quick)
        first = seconds[str(steps[0])]
        for step in steps:
            own = seconds[str(step)]
            row = Row(title, f"{step:,} {unit}", own * 1e6, "µs")
            last = step == steps[-1] and limit != float("inf")
            yield (
                row
                if step == steps[0]
                else row.judged(own / first, at_most=limit if last else None)
            )


if __name__ == "__main__":
    main(measure)
