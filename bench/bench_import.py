"""Import: what `import eventtracking` costs, in fresh interpreters, against importing its own
dependencies.
"""

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
DEPENDENCIES = "its own dependencies"
MOST = 1.5
IMPORTS = {
    US: (OURS, "eventtracking"),
    DEPENDENCIES: (OURS, "attrs, pluggy, importlib_metadata, msgspec, uuid_utils"),
    "event-tracking 4.0.2, its tracker": (PREDECESSOR, "eventtracking.tracker"),
    "event-tracking 4.0.2, its Django tracker": (
        PREDECESSOR,
        "eventtracking.django.django_tracker",
    ),
    "structlog, orjson": (PEERS, "structlog, orjson"),
    "OpenTelemetry logs": (PEERS, "opentelemetry.sdk._logs.export"),
}
TITLE = "import, in a fresh interpreter"


def measure(quick: bool) -> Iterator[Row]:
    """Import each in turn, always in a new interpreter that has imported nothing else; take the
    best.
    """
    pythons = {environment: python_of(environment) for environment in (OURS, PREDECESSOR, PEERS)}
    best = dict.fromkeys(IMPORTS, float("inf"))
    for _ in range(ROUNDS_QUICK if quick else ROUNDS):
        for who, (environment, modules) in IMPORTS.items():
            best[who] = min(best[who], seconds_for(pythons[environment], modules))
    ratio = best[US] / best[DEPENDENCIES]
    yield Row(TITLE, US, best[US] * 1e3, "ms", note="of its own dependencies").judged(
        ratio, at_most=MOST
    )
    for who in [who for who in IMPORTS if who != US]:
        yield Row(TITLE, who, best[who] * 1e3, "ms").compared(best[who] / best[US])


def seconds_for(python: Path, modules: str) -> float:
    """Import in a new interpreter, and let it tell how long it took.

    The first time compiles, as an installation does.
    """
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    code = f"import time; t = time.perf_counter(); import {modules}; print(time.perf_counter() - t)"
    done = subprocess.run(
        [python, "-c", code], check=True, capture_output=True, text=True, cwd=python.parent, env=env
    )
    return float(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main(measure)
