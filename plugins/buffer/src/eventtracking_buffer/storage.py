"""A storage: where a buffer's events wait. There are two, and this is how to write a third.

Write an engine: a class with the methods of `Engine`, made once per process with the router's
options and its `Downstream`. Name it in `_ENGINES`, and in the option `storage`. An engine

* takes events over in `send`, in one step that a signal handler cannot divide;
* drives one `delivery.Lane` for each entry of `downstream.lanes`, over a store with the methods of
  `delivery.attempt.Store`;
* turns the reports of its lanes into counts with `delivery.standings`, so that the law holds at any
  moment: `received = delivered + filtered + failed + dead_lettered + pending`;
* does what must happen whole on a thread where no signal handler runs: its `Housekeeper`'s.

`memory/engine.py` is the shorter example.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, Protocol

from eventtracking import Counts, Event
from eventtracking.protocols import Downstream
from eventtracking_buffer.dead_letters import DeadLetter, Selection, Wanted

if TYPE_CHECKING:
    from eventtracking_buffer.router import BufferRouter

__all__ = ["Engine", "engine_of"]

_ENGINES: Final = {
    "memory": ("eventtracking_buffer.memory.engine", "MemoryEngine"),
    "disk": ("eventtracking_buffer.disk.engine", "DiskEngine"),
}
"""Imported when needed: a system without `fcntl` has memory."""


class Engine(Protocol):
    """One buffer in one process."""

    def send(self, events: Sequence[Event]) -> None:
        """Store the events and return; raise `Rejected` for those that find no room."""

    def counts(self) -> Mapping[str, Counts]:
        """Read the counts of the buffer's own path and of those below."""

    def flush(self, timeout_s: float) -> bool:
        """Deliver what waits, within the time; return whether nothing is left."""

    def close(self) -> None:
        """End the threads at once, and let go of everything."""

    def letters(self, selection: Selection) -> list[DeadLetter]:
        """Return the dead letters that are meant, oldest first."""

    def request(self, selection: Selection, wanted: Wanted) -> int:
        """Have dead letters delivered once more, or given up as failed; return how many."""

    def status(self) -> dict[str, Any]:
        """Tell how it stands, in plain values, at little cost."""

    def probe(self) -> None:
        """Raise if events cannot be stored now."""

    def after_fork(self) -> None:
        """In a forked child: let go of what belongs to the parent, without touching it."""


def engine_of(storage: str) -> Callable[[BufferRouter, Downstream], Engine]:
    """Return the engine's class that the option `storage` names."""
    module, name = _ENGINES[storage]
    engine: Callable[[BufferRouter, Downstream], Engine] = getattr(import_module(module), name)
    return engine
