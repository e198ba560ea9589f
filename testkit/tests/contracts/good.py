"""Plugins that keep the contract: the reference that the bad ones differ from in one thing each."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import attrs

from eventtracking import DropEvent, Event, Outcome, Rejected
from eventtracking.protocols import Downstream


@attrs.define(eq=False)
class GoodBackend:
    """Write events to a file, each id once, a batch whole or not at all."""

    path: str = attrs.field(metadata={"help": "The file."})
    password: str = attrs.field(default="", repr=False, metadata={"help": "A secret."})

    def open(self) -> None:
        """Nothing stays open."""

    def send(self, events: Sequence[Event]) -> None:
        with self.locked() as file:
            known = (
                {json.loads(line)["id"] for line in file.read_text().split("\n")[:-1]}
                if file.exists()
                else set()
            )
            lines = "".join(event.to_json() + "\n" for event in events if event.id not in known)
            with file.open("a") as target:
                target.write(lines)

    @contextmanager
    def locked(self) -> Iterator[Path]:
        lock = os.open(self.path + ".lock", os.O_CREAT | os.O_RDWR)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield Path(self.path)
        finally:
            os.close(lock)

    def probe(self) -> None:
        """The file can be written to, if its folder can and no folder has its name."""
        if Path(self.path).is_dir() or not os.access(Path(self.path).parent, os.W_OK):
            raise IsADirectoryError("the file cannot be written")

    def exclusive(self) -> dict[str, str]:
        """The file."""
        return {"path": self.path}

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
    """Deliver while being sent to, three times where it fails, and settle what is left."""

    label: str = attrs.field(default="", metadata={"help": "A text."})
    downstream: Downstream = attrs.field(init=False, repr=False)

    def bind(self, downstream: Downstream) -> None:
        self.downstream = downstream

    def send(self, events: Sequence[Event]) -> None:
        by_id = {event.id: event for event in events}
        for leaf, errors in self.downstream.deliver(events).items():
            self.finish(leaf, by_id, errors)

    def finish(
        self, leaf: str, by_id: Mapping[str, Event], errors: Mapping[str, Exception]
    ) -> None:
        """Bring the events that failed at a leaf to their end there."""
        for _ in range(2):
            self.give_up(
                leaf, {event_id: e for event_id, e in errors.items() if isinstance(e, Rejected)}
            )
            again = [
                by_id[event_id]
                for event_id, error in errors.items()
                if not isinstance(error, Rejected)
            ]
            errors = self.downstream.deliver(again, only={leaf}).get(leaf, {}) if again else {}
        self.give_up(leaf, errors)

    def give_up(self, leaf: str, errors: Mapping[str, Exception]) -> None:
        for event_id, error in errors.items():
            self.downstream.settle(leaf, [event_id], Outcome.FAILED, type(error).__name__)
