"""Measure the cost of an emit while observers watch, side by side, in one process.

Trackers without observers, with `live`, with `prometheus`, and with both emit in turn, in rounds;
a tap is open on one of them. The median of the rounds is compared.
"""

from __future__ import annotations

import json
import socket
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import attrs

from eventtracking import Tracker
from eventtracking_live.folder import living_sockets
from eventtracking_testkit.distribution import fake_distribution

ROUNDS = 60
EMITS = 5_000


@attrs.define(eq=False)
class Null:
    """Take everything."""

    def send(self, events: Any) -> None:
        """Do nothing."""


def tracker(*observers: dict[str, Any]) -> Tracker:
    """Make a tracker with one null backend, and open it."""
    with fake_distribution(plugins={"null": Null}):
        made = Tracker.from_config(
            {"observers": list(observers), "backends": {"a": {"plugin": "null"}}}
        )
    made.emit("first")
    return made


def one_round(made: Tracker) -> float:
    """Return the microseconds of an emit."""
    began = time.perf_counter()
    for _ in range(EMITS):
        made.emit("edx.tick", {"n": 1, "course_id": "demo"})
    return (time.perf_counter() - began) / EMITS * 1e6


def main() -> None:
    """Print a line of JSON: microseconds and ratios."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        live = {"plugin": "live", "folder": str(folder / "l")}
        metrics = {"plugin": "prometheus", "port": 0, "folder": str(folder / "p")}
        tapped = {"plugin": "live", "folder": str(folder / "t")}
        makers = {"none": (), "both": (live, metrics), "tapped": (tapped,)}
        made = {label: tracker(*observers) for label, observers in makers.items()}
        client = socket.socket(socket.AF_UNIX)
        client.connect(str(living_sockets(folder / "t")[0]))
        client.sendall(b'{"ask": "tap", "route": "a"}\n')
        times: dict[str, list[float]] = {label: [] for label in made}
        for number in range(ROUNDS):
            for label in sorted(made, reverse=bool(number % 2)):
                times[label].append(one_round(made[label]))
                client.setblocking(False)
                try:
                    while client.recv(1 << 20):
                        pass
                except BlockingIOError:
                    pass
        client.close()
        for one in made.values():
            one.close()
    median = {label: statistics.median(found) for label, found in times.items()}
    ratios = {
        label: round(
            statistics.median(
                a / b for a, b in zip(times[label], times["none"], strict=True)
            ), 4,
        )
        for label in median
    }  # fmt: skip
    print(json.dumps({"us": {k: round(v, 3) for k, v in median.items()}, "ratio": ratios}))


if __name__ == "__main__":
    main()
