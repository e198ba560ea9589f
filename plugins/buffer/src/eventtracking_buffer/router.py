"""The router `buffer`: its options, and the contract of a router over a store and a worker for each
leaf.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import attrs
import msgspec

from eventtracking import Counts, Event
from eventtracking.errors import OptionsError
from eventtracking.protocols import Downstream
from eventtracking_buffer.dead_letters import DeadLetter, Selection, Wanted
from eventtracking_buffer.delivery.clock import SYSTEM, Clock
from eventtracking_buffer.delivery.lane import Pace
from eventtracking_buffer.letters import Letters
from eventtracking_buffer.status import Status, status_of
from eventtracking_buffer.storage import Engine, engine_of

__all__ = ["BufferRouter"]

Count = Annotated[int, msgspec.Meta(ge=1)]
Seconds = Annotated[float, msgspec.Meta(ge=0)]
_MAX_EVENTS = {"memory": 100_000, "disk": 1_000_000}
_MAX_BYTES = {"memory": 64_000_000, "disk": 1_000_000_000}


@attrs.define(eq=False, kw_only=True)
class BufferRouter:
    """Store events and return; deliver them off the request, in batches, with retries and dead
    letters.

    Each leaf below has a lane and a daemon thread of its own, so that one that hangs or fails
    delays no other. `send` takes no lock and waits for nothing, unless `when_full` says "block".
    """

    storage: Literal["memory", "disk"] = attrs.field(
        default="memory",
        metadata={"help": 'Where events wait: "disk" survives the death of the process.'},
    )
    path: str | None = attrs.field(
        default=None,
        metadata={"help": 'A folder, with storage = "disk"; it is made if it is missing.'},
    )
    sync: Literal["os", "always"] = attrs.field(
        default="os",
        metadata={
            "help": (
                'With storage = "disk": "always" has each event on the medium before emit()'
                " returns."
            )
        },
    )
    max_events: Count | None = attrs.field(
        default=None,
        metadata={"help": "How many events may wait. None: 100,000 in memory, 1,000,000 on disk."},
    )
    max_bytes: Count | None = attrs.field(
        default=None,
        metadata={
            "help": "How many bytes of events may wait. None: 64 MB in memory, 1 GB on disk."
        },
    )
    when_full: Literal["block", "drop_newest", "drop_oldest"] = attrs.field(
        default="drop_newest",
        metadata={
            "help": (
                "What to do then: make emit() wait, refuse the new event, or give up the oldest."
            )
        },
    )
    block_timeout_s: Seconds = attrs.field(
        default=1.0,
        metadata={
            "help": 'With when_full = "block": how long emit() waits before it refuses, in seconds.'
        },
    )
    max_batch_events: Count = attrs.field(
        default=500, metadata={"help": "The most events of one delivery."}
    )
    max_batch_bytes: Count = attrs.field(
        default=1_000_000, metadata={"help": "The most bytes of one delivery."}
    )
    max_batch_age_s: Seconds = attrs.field(
        default=0.1,
        metadata={"help": "How long the first event of a batch waits for others, in seconds."},
    )
    max_attempts: Count = attrs.field(
        default=100,
        metadata={
            "help": (
                "After so many failed deliveries an event becomes a dead letter: by default after"
                " some 25 minutes."
            )
        },
    )
    max_age_s: Annotated[float, msgspec.Meta(gt=0)] | None = attrs.field(
        default=None,
        metadata={
            "help": (
                "An event whose delivery fails when it is older than this becomes a dead letter."
                " None: no limit."
            )
        },
    )
    retry_base_s: Annotated[float, msgspec.Meta(gt=0)] = attrs.field(
        default=0.5,
        metadata={
            "help": "The longest delay after the first failure; it doubles with each further one."
        },
    )
    retry_max_s: Annotated[float, msgspec.Meta(gt=0)] = attrs.field(
        default=30.0, metadata={"help": "The longest delay between two attempts, in seconds."}
    )
    max_dead_letters: Count = attrs.field(
        default=10_000,
        metadata={
            "help": "Maximum number of dead letters; the oldest beyond that count as failed."
        },
    )
    max_dead_letter_bytes: Count | None = attrs.field(
        default=None,
        metadata={
            "help": "Maximum bytes of all dead letters. None: 64 MB in memory, 1 GB on disk."
        },
    )
    dead_letter_max_age_s: Annotated[float, msgspec.Meta(gt=0)] | None = attrs.field(
        default=7_776_000.0,
        metadata={"help": "Older dead letters count as failed: 90 days. None: no limit."},
    )
    defers: ClassVar[bool] = True
    """`send` returns before a child is called."""
    clock: Clock = attrs.field(init=False, default=SYSTEM, repr=False)
    downstream: Downstream = attrs.field(init=False, repr=False)
    folder: str = attrs.field(init=False, default="", repr=False)
    """The folder of a buffer on disk: an absolute path, wherever the process goes later."""
    _engine: Engine | None = attrs.field(init=False, default=None, repr=False)

    def __attrs_post_init__(self) -> None:
        if self.storage == "memory":
            return
        if not self.path:
            raise OptionsError({"path": 'storage = "disk" needs a folder for its files'})
        self.folder = os.path.abspath(os.path.expanduser(self.path))  # noqa: PTH100, PTH111 - text in, text out

    def exclusive(self) -> Mapping[str, str]:
        """The folder, which only one buffer can have."""
        return {"path": f"folder {os.path.realpath(self.folder)}"} if self.storage == "disk" else {}

    @property
    def limit_events(self) -> int:
        """How many events may wait."""
        return self.max_events or _MAX_EVENTS[self.storage]

    @property
    def limit_bytes(self) -> int:
        """How many bytes of encoded events may wait."""
        return self.max_bytes or _MAX_BYTES[self.storage]

    @property
    def limit_dead_letters(self) -> int:
        """Maximum number of dead letters."""
        return self.max_dead_letters

    @property
    def limit_dead_letter_bytes(self) -> int:
        """Maximum bytes of all dead letters."""
        return self.max_dead_letter_bytes or _MAX_BYTES[self.storage]

    def bind(self, downstream: Downstream) -> None:
        """Take the routes below. Nothing starts."""
        self.downstream = downstream
        engine_of(self.storage)  # imported now, and not by the first event
        _bound.add(self)

    def open(self) -> None:
        """Be ready for `send`; in a forked child, with nothing of the parent's."""
        if self._engine is None:
            self._engine = engine_of(self.storage)(self, self.downstream)

    def probe(self) -> None:
        """See that events can be stored.

        Raises:
            DeliveryError: If the folder cannot be used now, so that events would wait in memory.
        """
        self._opened().probe()

    def _opened(self) -> Engine:
        if self._engine is None:
            self.open()
        assert self._engine is not None  # noqa: S101 - for the type checker: `open` has just made it
        return self._engine

    def send(self, events: Sequence[Event]) -> None:
        """Store the events and return.

        Raises:
            Rejected: For those that found no room.
        """
        (self._engine or self._opened()).send(events)

    def counts(self) -> Mapping[str, Counts]:
        """Read the counts of the buffer's own path, and of the routes below."""
        if self._engine is not None:
            return self._engine.counts()
        return self.from_outside(lambda buffer: buffer.counts()) or {self.downstream.path: Counts()}

    def from_outside(self, ask: Callable[[Any], Any]) -> Any:
        """Ask the files of a buffer that this process does not use; None where there are none."""
        if self.storage != "disk":
            return None
        from eventtracking_buffer.disk.inspection import BufferOnDisk

        lanes = tuple(self.downstream.lanes)
        return ask(BufferOnDisk(route=self.downstream.path, folder=Path(self.folder), lanes=lanes))

    def flush(self, timeout_s: float) -> bool:
        """Deliver what waits, within the time, and without the delay that a failure has brought.

        Return whether nothing is left.
        """
        return self._engine is None or self._engine.flush(timeout_s)

    def close(self) -> None:
        """End the threads, at once.

        What memory still holds is lost: it is failed, and its number is logged.
        """
        if self._engine is not None:
            self._engine.close()

    @property
    def letters(self) -> Letters:
        """The dead letters: to list, replay or purge."""
        return Letters(self)

    def stored_letters(self, selection: Selection) -> list[DeadLetter]:
        """Return the dead letters that are meant, oldest first."""
        if self._engine is not None:
            return self._engine.letters(selection)
        return self.from_outside(lambda buffer: buffer.dead_letters(selection)) or []

    def request(self, selection: Selection, wanted: Wanted) -> int:
        """Have dead letters replayed or purged by the process that delivers; return how many."""
        if self._engine is None:
            return self.from_outside(lambda buffer: buffer.request(selection, wanted)) or 0
        return self._engine.request(selection, wanted)

    def status(self) -> Status:
        """Tell how it stands. Never opens, starts or delivers."""
        limits = self.limit_bytes, self.clock.time()
        if self._engine is not None:
            return status_of(self._engine.status(), *limits)
        found = self.from_outside(lambda buffer: buffer.engine_status())
        return status_of(found or {"shared": self.storage == "disk"}, *limits)

    def pace(self) -> Pace:
        """How its lanes batch and retry.

        What is on its way cannot be dropped, so a batch takes at most half of the room.
        """
        return Pace(
            max_batch_events=max(1, min(self.max_batch_events, self.limit_events // 2)),
            max_batch_bytes=self.max_batch_bytes,
            max_batch_age_s=self.max_batch_age_s,
            max_attempts=self.max_attempts,
            max_age_s=self.max_age_s,
            retry_base_s=self.retry_base_s,
            retry_max_s=self.retry_max_s,
        )

    def _after_fork(self) -> None:
        """Forget the parent's engine in a forked child, without ending what belongs to
        the parent.
        """
        if self._engine is not None:
            self._engine.after_fork()
            self._engine = None


_bound: weakref.WeakSet[BufferRouter] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for router in list(_bound):
        router._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
