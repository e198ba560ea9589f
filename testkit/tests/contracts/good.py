"""Plugins that keep the contract: the reference that the bad ones differ from in one thing each."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import attrs

from eventtracking import DropEvent, Event
from eventtracking.protocols import Downstream


@attrs.define(eq=False)
class GoodBackend:
    """Write events to a file, each id once, a batch whole or not at all."""

    path: str = attrs.field(metadata={"help": "The file."})
    password: str = attrs.field(default="", repr=False, metadata={"help": "A secret."})

    def open(self) -> None:
        """Nothing stays open."""

    def send(self, events: Sequence[Event]) -> None:
        with self.exclusive() as file:
            known = {json.loads(line)["id"] for line in file.read_text().split("\n")[:-1]} if file.exists() else set()
            lines = "".join(event.to_json() + "\n" for event in events if event.id not in known)
            with file.open("a") as target:
                target.write(lines)

    @contextmanager
    def exclusive(self) -> Iterator[Path]:
        lock = os.open(self.path + ".lock", os.O_CREAT | os.O_RDWR)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield Path(self.path)
        finally:
            os.close(lock)

    def flush(self, timeout_s: float) -> None:
        """Nothing is held."""

    def close(self) -> None:
        """Nothing stays open."""


@attrs.define(eq=False)
class GoodProcessor:
    """Add a mark, and drop what is named `drop.*`."""

    mark: str = attrs.field(default="mark", metadata={"help": "What to add."})

    def accepts(self, name: str) -> bool:
        return not name.startswith("drop.")

    def __call__(self, event: Event) -> Event:
        if not self.accepts(event.name):
            raise DropEvent("its name starts with drop.")
        return event.replace(data={**event.data, self.mark: True})


@attrs.define(eq=False)
class GoodRouter:
    """Deliver while being sent to."""

    label: str = attrs.field(default="", metadata={"help": "A text."})
    downstream: Downstream = attrs.field(init=False, repr=False)

    def bind(self, downstream: Downstream) -> None:
        self.downstream = downstream

    def send(self, events: Sequence[Event]) -> None:
        self.downstream.deliver(events)
