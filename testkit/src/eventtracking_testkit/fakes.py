"""Backends that remember and backends that fail, to name in the config of a test (see
`fake_distribution`).
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final

import attrs

from eventtracking import Event

__all__ = ["FailingBackend", "RecordingBackend", "read_recorded"]


@attrs.define(eq=False)
class RecordingBackend:
    """Remember every event, in memory and, where a path is given, in a file that other processes
    may write to as well.
    """

    key: str = attrs.field(
        default="", metadata={"help": "Where to remember: RecordingBackend.recorded[key]."}
    )
    path: str | None = attrs.field(
        default=None, metadata={"help": "A file for one line of JSON per event."}
    )

    recorded: ClassVar[dict[str, list[Event]]] = {}
    """What was sent, by key, in order."""
    calls: ClassVar[dict[str, list[str]]] = {}
    """The calls of `open`, `flush` and `close`, by key, in order."""

    def open(self) -> None:
        """Note the call."""
        self.calls.setdefault(self.key, []).append("open")

    def send(self, events: Sequence[Event]) -> None:
        """Remember the events."""
        if self.path is not None:
            _append(self.path, events)
        self.recorded.setdefault(self.key, []).extend(events)

    def flush(self, timeout_s: float) -> None:  # noqa: ARG002 - the contract's signature
        """Note the call."""
        self.calls.setdefault(self.key, []).append("flush")

    def close(self) -> None:
        """Note the call."""
        self.calls.setdefault(self.key, []).append("close")

    @classmethod
    def forget(cls, key: str | None = None) -> None:
        """Forget what was remembered, under one key or all."""
        for memory in (cls.recorded, cls.calls):
            memory.pop(key, None) if key is not None else memory.clear()


_TORN: Final = "\x18"
"""Ends half a line: what JSON itself never ends with."""


def _append(path: str, events: Sequence[Event]) -> None:
    """Write all lines at once, so that those of several processes do not mix.

    One that was killed may have left half a line.
    """
    text = "".join(event.to_json() + "\n" for event in events)
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        size = os.fstat(descriptor).st_size
        torn = size and os.pread(descriptor, 1, size - 1) != b"\n"
        os.write(descriptor, (f"{_TORN}\n{text}" if torn else text).encode())
    finally:
        os.close(descriptor)


def read_recorded(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Read the events back that `RecordingBackend` wrote to a file; none if there is no file yet.

    Half a line, of a process that was killed while it wrote, is no event. Anything else that is
    none is an error.
    """
    file = Path(path)
    lines = file.read_bytes().split(b"\n")[:-1] if file.exists() else []
    return [json.loads(line) for line in lines if not line.endswith(_TORN.encode())]


def _refuse(events: Sequence[Event]) -> None:  # noqa: ARG001 - the signature of all actions
    raise ConnectionError("the destination is down")


_LOCK: Final = threading.Lock()


@attrs.define(eq=False)
class FailingBackend:
    """Do to each batch what the test says; without a word from the test, raise
    `ConnectionError`.
    """

    key: str = attrs.field(
        default="", metadata={"help": "Whose action to take: FailingBackend.actions[key]."}
    )

    actions: ClassVar[dict[str, Callable[[Sequence[Event]], None]]] = {}
    """What to do with a batch, by key: raise something, or return to deliver it."""
    attempts: ClassVar[dict[str, int]] = {}
    """How often `send` was called, by key."""
    blocking: ClassVar[bool] = True
    """It stands for a backend that talks to a network."""

    def send(self, events: Sequence[Event]) -> None:
        """Count the attempt and act."""
        with _LOCK:
            self.attempts[self.key] = self.attempts.get(self.key, 0) + 1
        self.actions.get(self.key, _refuse)(events)

    @classmethod
    def forget(cls, key: str | None = None) -> None:
        """Forget actions and attempts, of one key or all."""
        for memory in (cls.actions, cls.attempts):
            memory.pop(key, None) if key is not None else memory.clear()
