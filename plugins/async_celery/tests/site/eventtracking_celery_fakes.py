"""The plugins of these tests: a distribution that is really installed (its `.dist-info` is beside
this file).

They run in workers, which are other processes: what they do is told by files, and what they saw is
read from files.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
from celery import signals

from eventtracking import DropEvent, Event, Rejected, hookimpl
from eventtracking.tracker import registered_trackers

ODD_REASONS: dict[str, Any] = {
    "surrogate": "bad \ud800",
    "error": ValueError("a value"),
    "none": None,
    "bytes": b"\xff",
    "long": "x" * 3_000_000,
}


@attrs.define(eq=False)
class Record:
    """Append a line for each event to a file."""

    path: str
    fail_while: str = ""
    """Fail as long as this file exists."""
    hang_while: str = ""
    die_while: str = ""
    """End the process at once, as a crash does, as long as this file exists."""
    exit_while: str = ""
    """Call sys.exit as long as this file exists."""
    odd_reasons: bool = False
    """Reject everything, for reasons that are no texts, or cannot be sent."""
    reject_name: str = ""
    delay_s: float = 0.0
    password: str = attrs.field(default="", repr=False)

    def send(self, events: Sequence[Event]) -> None:
        self._note("tried", len(events))
        while self.hang_while and Path(self.hang_while).exists():
            time.sleep(0.05)
        time.sleep(self.delay_s)
        if self.die_while and Path(self.die_while).exists():
            os._exit(9)
        if self.exit_while and Path(self.exit_while).exists():
            sys.exit(3)
        if self.odd_reasons:
            raise Rejected({event.id: ODD_REASONS[event.name] for event in events})
        if self.fail_while and Path(self.fail_while).exists():
            raise OSError("down")
        rejected = {event.id: "a bad name" for event in events if event.name == self.reject_name}
        self._write([event for event in events if event.id not in rejected])
        if rejected:
            raise Rejected(rejected)

    def _write(self, events: Sequence[Event]) -> None:
        lines = [
            {
                "id": event.id,
                "name": event.name,
                "at": repr(event.timestamp),
                "context": {key: repr(value) for key, value in event.context.items()},
                "data": {key: repr(value) for key, value in event.data.items()},
                "extra": event.extra,
                "pid": os.getpid(),
            }
            for event in events
        ]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            os.write(file, text.encode())
        finally:
            os.close(file)

    def _note(self, what: str, count: int) -> None:
        with Path(f"{self.path}.{what}").open("a") as file:
            file.write(f"{count}\n")


@attrs.define(eq=False)
class SayNo:
    """Filter out events of one name, and note in which process."""

    name: str
    path: str = ""

    def __call__(self, event: Event) -> Event:
        if self.path:
            with Path(self.path).open("a") as file:
                file.write(f"{os.getpid()}\n")
        if event.name == self.name:
            raise DropEvent("unwanted")
        return event


def _note_stats(**_: Any) -> None:
    """Write this process's counts to a file, after each task, so that the tests can add up those of
    all workers.
    """
    trackers = registered_trackers().values()
    counts = {
        path: attrs.asdict(count) for tracker in trackers for path, count in tracker.stats().items()
    }
    file = Path(os.environ["FAKES_STATS"], f"stats.{os.getpid()}")
    file.with_name(f"new.{os.getpid()}").write_text(json.dumps(counts))
    file.with_name(f"new.{os.getpid()}").replace(file)


if "FAKES_STATS" in os.environ:
    signals.task_postrun.connect(_note_stats, weak=False)


@hookimpl
def eventtracking_register_backends(register: Any) -> None:
    register("record", Record)


@hookimpl
def eventtracking_register_processors(register: Any) -> None:
    register("say_no", SayNo)
