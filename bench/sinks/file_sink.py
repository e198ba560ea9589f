"""The plugins `null_sink` and `file_sink`: backends that forget events, or make a file longer by
one byte for each.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import attrs

from eventtracking import Event, hookimpl
from eventtracking.hookspecs import Register


@attrs.define(eq=False)
class NullSink:
    """Forget everything."""

    def send(self, events: Sequence[Event]) -> None:
        """Forget the events."""


@attrs.define(eq=False)
class FileSink:
    """Write a byte for each event: the file's size says how many have arrived."""

    path: str

    def send(self, events: Sequence[Event]) -> None:
        with Path(self.path).open("ab") as file:
            file.write(b"." * len(events))


@hookimpl
def eventtracking_register_backends(register: Register) -> None:
    """Register the backends."""
    register("null_sink", NullSink)
    register("file_sink", FileSink)
