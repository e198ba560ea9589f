"""A program that emits declared events: `python emitting.py CONFIG.json COUNT [kill]`."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import attrs

from eventtracking import Event, Tracker
from eventtracking_catalog import event, field
from eventtracking_testkit.distribution import fake_distribution


@event("stored.enrolled", owner="learning")
@attrs.define
class Enrolled:
    """A learner enrolled."""

    course: Annotated[str, field(description="The course.", pii="none")]


@attrs.define(eq=False)
class Killer:
    """Kill this process where the record of an event type comes by."""

    def __call__(self, event: Event) -> Event:
        if event.name.startswith("eventtracking."):
            os.kill(os.getpid(), signal.SIGKILL)
        return event


def main(config: dict[str, Any], count: int) -> None:
    """Emit that many events, and wait until they are delivered."""
    with Tracker.from_config(config) as tracker:
        for _ in range(count):
            tracker.emit(Enrolled(course="botany"))
        assert tracker.flush(60)


if __name__ == "__main__":
    given = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    with fake_distribution(plugins={"killer": Killer}):
        if "kill" in sys.argv:
            given["processors"].append({"plugin": "killer"})
        main(given, int(sys.argv[2]))
