"""A program that sends a given number of events through a buffer, and prints how much memory that
took and what the books say.

trial_run.py CONFIG COUNT
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import attrs

from eventtracking import Tracker

__all__: list[str] = []

_SAMPLES = 40


def main() -> None:
    """Emit all, look at the memory now and then, and wait until all is delivered."""
    config, count = json.loads(sys.argv[1]), int(sys.argv[2])
    tracker = Tracker.from_config({"backends": {"kept": config}})
    memory_kb = []
    for number in range(count):
        tracker.emit("trial.load", {"n": number, "text": "x" * 200, "nested": {"list": [1, 2, 3]}})
        if number % (count // _SAMPLES) == 0:
            memory_kb.append(resident_kb())
    finished = tracker.flush(300)
    memory_kb.append(resident_kb())
    counts = {path: attrs.asdict(one) for path, one in tracker.stats().items()}
    balanced = all(one.balanced for one in tracker.stats().values())
    tracker.close()
    print(
        json.dumps(
            {"finished": finished, "memory_kb": memory_kb, "counts": counts, "balanced": balanced}
        )
    )


def resident_kb() -> int:
    """The memory of this process that is in RAM."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmRSS:")[2].split()[0])


if __name__ == "__main__":
    main()
