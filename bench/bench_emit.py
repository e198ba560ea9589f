"""Emit: what one event costs the application, against the predecessor and the peers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from _environments import OURS, PEERS, PREDECESSOR, python_of
from _rounds import best_of_rounds
from _table import Row, main

HERE = Path(__file__).resolve().parent
US = "eventtracking"
PURE = "eventtracking, nothing compiled"
THE_PREDECESSOR = "event-tracking 4.0.2"
STRUCTLOG = "structlog + orjson"
OPENTELEMETRY = "OpenTelemetry logs, batch"

WORKERS = {
    US: (OURS, "worker_ours.py"),
    PURE: (OURS, "worker_ours.py"),
    THE_PREDECESSOR: (PREDECESSOR, "worker_predecessor.py"),
    STRUCTLOG: (PEERS, "worker_structlog.py"),
    OPENTELEMETRY: (PEERS, "worker_opentelemetry.py"),
}
PREFIXES = {PURE: ("env", "EVENTTRACKING_PURE_PYTHON=1")}
SCENARIOS = {
    "null": (
        "one event of 1 KB, one null backend",
        [PURE, THE_PREDECESSOR, STRUCTLOG, OPENTELEMETRY],
    ),
    "json": ("the same, as a line of JSON to a null handler", [THE_PREDECESSOR, STRUCTLOG]),
    "open_edx": ("the layout of Open edX", [PURE, THE_PREDECESSOR]),
    "three_routers": ("three routers, eleven patterns each, all match", [THE_PREDECESSOR]),
    "filtered": ("three routers, none matches", [THE_PREDECESSOR, STRUCTLOG]),
    "large": (
        "one event of 100 KB, one null backend",
        [PURE, THE_PREDECESSOR, STRUCTLOG, OPENTELEMETRY],
    ),
}
WANTED = {
    ("null", THE_PREDECESSOR): 10.0,
    ("null", STRUCTLOG): 3.0,
    ("open_edx", THE_PREDECESSOR): 10.0,
    ("three_routers", THE_PREDECESSOR): 20.0,
}


def measure(quick: bool) -> Iterator[Row]:
    """Let all who can do a scenario take turns at it."""
    pythons = {environment: python_of(environment) for environment in (OURS, PREDECESSOR, PEERS)}
    for scenario, (title, others) in SCENARIOS.items():
        commands: dict[str, Sequence[str | Path]] = {
            who: [
                *PREFIXES.get(who, ()),
                pythons[WORKERS[who][0]],
                HERE / WORKERS[who][1],
                scenario,
            ]
            for who in (US, *others)
        }
        seconds = best_of_rounds(commands, quick)
        yield Row(title, US, seconds[US] * 1e6, "µs")
        for who in others:
            row = Row(title, who, seconds[who] * 1e6, "µs")
            yield row.judged(seconds[who] / seconds[US], at_least=WANTED.get((scenario, who)))


if __name__ == "__main__":
    main(measure)
