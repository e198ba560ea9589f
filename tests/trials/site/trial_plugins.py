"""The plugins of the trials: a distribution that is really installed (its `.dist-info` is beside
this file).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

import attrs

from eventtracking import Event, hookimpl
from eventtracking.hookspecs import Register


@attrs.define(eq=False)
class DelaysBackend:
    """Write down how long after its emission each event arrived, in seconds; hang as long as a file
    exists.
    """

    path: str
    hang_while: str = ""

    def send(self, events: Sequence[Event]) -> None:
        while self.hang_while and Path(self.hang_while).exists():
            time.sleep(0.02)
        now = datetime.now(timezone.utc)
        lines = [
            f"{event.data['n']} {(now - event.timestamp).total_seconds():.6f}\n" for event in events
        ]
        with Path(self.path).open("a", encoding="utf-8") as file:
            file.write("".join(lines))


@attrs.define(eq=False)
class CountBackend:
    """Count events, and add their numbers up."""

    count: int = attrs.field(init=False, default=0)
    total: int = attrs.field(init=False, default=0)

    def send(self, events: Sequence[Event]) -> None:
        self.count += len(events)
        self.total += sum(event.data["n"] for event in events)


@hookimpl
def eventtracking_register_backends(register: Register) -> None:
    """Register the backends."""
    register("trial_delays", DelaysBackend)
    register("trial_count", CountBackend)
