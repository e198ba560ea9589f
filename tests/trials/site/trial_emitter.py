"""A program that emits until it is killed, and notes each event after its `emit()` has returned.

    trial_emitter.py CONFIG NOTES FIRST

FIRST is the number of the first event; its name and data follow from it.
"""

from __future__ import annotations

import json
import os
import random
import sys
from datetime import datetime, timedelta, timezone
from typing import Any

from eventtracking import Tracker

__all__ = ["MAX_EVENTS", "data_of"]

MAX_EVENTS = 1_000_000
"""No program emits so many."""


def data_of(number: int) -> dict[str, Any]:
    """What the event of that number carries: few bytes mostly, many sometimes."""
    dice = random.Random(number)
    size = dice.choice((10, 100, 100, 1_000, 8_000))
    return {
        "n": number,
        "text": "ü" * size,
        "bytes": f"{dice.getrandbits(256):x}",
        "nested": {"list": [None, True, 1 << 60, 0.1], "deep": {"x": [{}]}},
        "at": datetime(2024, 2, 29, tzinfo=timezone.utc) + timedelta(seconds=number),
    }


def main() -> None:
    """Emit for ever."""
    config, notes, first = sys.argv[1:]
    tracker = Tracker.from_config({"backends": {"kept": json.loads(config)}})
    file = os.open(notes, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for number in range(int(first), int(first) + MAX_EVENTS):
        tracker.emit("trial.kept", data_of(number))
        os.write(file, b"%d\n" % number)


if __name__ == "__main__":
    main()
