"""Start: an import and a first event, in fresh interpreters, against importing the dependencies."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from _environments import OURS, PEERS, PREDECESSOR, python_of
from _table import Row, main

ROUNDS = 20
ROUNDS_QUICK = 4
US = "eventtracking"
FIRST_EVENT = """
import logging, eventtracking
logging.getLogger("bench").addHandler(logging.NullHandler())
logging.getLogger("bench").setLevel(logging.INFO)
eventtracking.configure({"backends": {"log": {"plugin": "logger", "name": "bench"}}})
eventtracking.tracker.emit("first", {"number": 1})
assert eventtracking.tracker.get_tracker().stats()["log"].delivered == 1
"""
STARTS = {
    "import, in a fresh interpreter": {
        US: (OURS, "import eventtracking"),
        "attrs, uuid_utils": (OURS, "import attrs, uuid_utils"),
        "eventtracking, Tracker in use": (OURS, "from eventtracking import Tracker"),
        "event-tracking 4.0.2, its tracker": (PREDECESSOR, "import eventtracking.tracker"),
        "event-tracking 4.0.2, its Django tracker": (
            PREDECESSOR,
            "import eventtracking.django.django_tracker",
        ),
        "structlog, orjson": (PEERS, "import structlog, orjson"),
        "OpenTelemetry logs": (PEERS, "import opentelemetry.sdk._logs.export"),
    },
    "first event to a logger, in a fresh interpreter": {
        US: (OURS, FIRST_EVENT),
        "its dependencies": (OURS, "import attrs, msgspec, pluggy, importlib_metadata, logging"),
    },
}
MOST = {"attrs, uuid_utils": 1.5, "its dependencies": 1.25}
"""How many times that import's time our start may take."""


def measure(quick: bool) -> Iterator[Row]:
    """Start each in turn, always in a new interpreter that has imported nothing else; take the
    best.
    """
    pythons = {environment: python_of(environment) for environment in (OURS, PREDECESSOR, PEERS)}
    for title, starts in STARTS.items():
        best = dict.fromkeys(starts, float("inf"))
        for _ in range(ROUNDS_QUICK if quick else ROUNDS):
            for who, (environment, code) in starts.items():
                best[who] = min(best[who], seconds_for(pythons[environment], code))
        base = next(who for who in starts if who in MOST)
        yield Row(title, US, best[US] * 1e3, "ms", note=f"of importing {base}").judged(
            best[US] / best[base], at_most=MOST[base]
        )
        for who in [who for who in starts if who != US]:
            yield Row(title, who, best[who] * 1e3, "ms").compared(best[who] / best[US])


def seconds_for(python: Path, start: str) -> float:
    """Run code in a new interpreter, and let it tell how long it took.

    The first time compiles, as an installation does.
    """
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    code = f"import time; t = time.perf_counter()\n{start}\nprint(time.perf_counter() - t)"
    done = subprocess.run(
        [python, "-c", code], check=True, capture_output=True, text=True, cwd=python.parent, env=env
    )
    return float(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main(measure)
