"""Run every benchmark beside this file, and print one table: `make bench`, or `make bench
ARGS=--quick`.

Each `bench_*.py` runs as a program of its own, one after the other. One that fails, or cannot run
here, is named below the table. The exit status is 1 if one failed; a missed target is shown, and is
no failure, because machines differ.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

from _table import Row, markdown

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
FIRST = ("bench_emit", "bench_import", "bench_growth")
"""What the table begins with; the others follow by their names."""
LIMIT_S = 900


def main() -> int:
    """Run the benchmarks that are asked for."""
    options = parse()
    rows: list[Row] = []
    remarks: list[str] = []
    failed = False
    for path in benchmarks(options.only):
        print(f"measuring: {path.stem} ...", file=sys.stderr, flush=True)
        found, remark, status = run(path, options.quick)
        rows += found
        failed = failed or status != 0
        if remark:
            remarks.append(f"{path.stem}: {remark}")
    text = "\n".join(
        [markdown(rows), "", *[f"- {line}" for line in [*remarks, machine(options.quick)]]]
    )
    print(text)
    keep(rows, text)
    return int(failed)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds: less exact")
    parser.add_argument(
        "--only",
        action="append",
        metavar="NAME",
        help="a benchmark by name, such as emit; may be repeated",
    )
    return parser.parse_args()


def benchmarks(only: list[str] | None) -> list[Path]:
    """Find the benchmarks, the well-known ones first."""
    found = sorted(
        HERE.glob("bench_*.py"),
        key=lambda path: (
            path.stem not in FIRST,
            FIRST.index(path.stem) if path.stem in FIRST else 0,
            path.stem,
        ),
    )
    if not only:
        return found
    chosen = [path for path in found if path.stem.removeprefix("bench_") in only]
    if len(chosen) != len(set(only)):
        sys.exit(
            "no such benchmark; there are:"
            f" {', '.join(path.stem.removeprefix('bench_') for path in found)}"
        )
    return chosen


def run(path: Path, quick: bool) -> tuple[list[Row], str, int]:
    """Run one benchmark; its rows, what is to be said about it, and its exit status."""
    command = [sys.executable, str(path), "--json", *(["--quick"] if quick else [])]
    try:
        done = subprocess.run(
            command,
            check=False,
            stdout=subprocess.PIPE,
            text=True,
            timeout=LIMIT_S,
            cwd=HERE.parent,
        )
    except subprocess.TimeoutExpired:
        return [], f"FAILED: not done after {LIMIT_S} s", 1
    answers = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    rows = [Row(**answer) for answer in answers if "unavailable" not in answer]
    remarks = [
        f"not measured: {answer['unavailable']}" for answer in answers if "unavailable" in answer
    ]
    if done.returncode:
        remarks.append(
            f"FAILED with exit status {done.returncode}; what it said stands above the table"
        )
    return rows, "; ".join(remarks), done.returncode


def machine(quick: bool) -> str:
    form = "the quick form, " if quick else ""
    return (
        f"{form}{platform.python_implementation()} {platform.python_version()}, {platform.system()}"
        f" {platform.machine()}, {os.cpu_count()} CPUs"
    )


def keep(rows: list[Row], text: str) -> None:
    """Leave the results of the last run where they can be looked at, outside of git."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "latest.md").write_text(text + "\n", encoding="utf-8")
    (RESULTS / "latest.json").write_text(
        json.dumps([vars(row) for row in rows], indent=1) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    sys.exit(main())
