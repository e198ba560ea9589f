"""The catalog: what check and stamp add to one emit, and how long a start with many types takes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from _environments import OURS, python_of
from _rounds import best_of_rounds
from _table import Row, main

HERE = Path(__file__).resolve().parent
MOST_US = {"flat": 1.0, "nested": 1.4, "unknown": 0.4}
TITLES = {
    "flat": "four flat fields, checked and stamped",
    "nested": "a nested kilobyte, checked and stamped",
    "unknown": "a name that nothing declares",
}
TYPES = 1_000
MOST_START_MS = 50.0


def measure(quick: bool) -> Iterator[Row]:
    """Let the same emit with and without the catalog take turns."""
    python, worker = python_of(OURS), HERE / "worker_catalog.py"
    scenarios = [name for kind in MOST_US for name in (kind, f"{kind}_without")]
    commands: dict[str, list[str | Path]] = {name: [python, worker, name] for name in scenarios}
    seconds = best_of_rounds(commands, quick)
    for kind, most in MOST_US.items():
        before, after = seconds[f"{kind}_without"] * 1e6, seconds[kind] * 1e6
        note = f"added to {before:.2f}; of at most {most} µs"
        row = Row("the catalog, added to one emit", TITLES[kind], after - before, "µs", note=note)
        yield row.judged((after - before) / most, at_most=1.0)
    commands = {count: [python, worker, "start", count] for count in (str(TYPES), "0")}
    seconds = best_of_rounds(commands, quick)
    start_ms = (seconds[str(TYPES)] - seconds["0"]) * 1e3
    note = f"of at most {MOST_START_MS:g} ms"
    row = Row("a start with the catalog", f"{TYPES:,} types declared", start_ms, "ms", note=note)
    yield row.judged(start_ms / MOST_START_MS, at_most=1.0)


if __name__ == "__main__":
    main(measure)
