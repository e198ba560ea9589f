"""The loop of a worker: a program that has one thing ready, and does it as often as it is told, for
as long as it is told.

Standard library only: workers of every environment import it.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping

__all__ = ["serve"]

Action = Callable[[], object]


def serve(scenarios: Mapping[str, Callable[..., Action]]) -> None:
    """Prepare the scenario that the command line names; then, for each number that comes in, do it
    so often and print the seconds.
    """
    name, *arguments = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints must not look like an answer
    action = scenarios[name](*arguments)
    action()
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        print(repr(_time(action, int(line))), file=answers, flush=True)


def _time(action: Action, count: int) -> float:
    repeats = range(count)
    started = time.perf_counter()
    for _ in repeats:
        action()
    return time.perf_counter() - started
