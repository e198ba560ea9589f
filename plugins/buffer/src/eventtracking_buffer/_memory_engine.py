"""What drives a buffer in memory: limits, lanes, their threads, and the end."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from eventtracking import Counts, Event, Rejected
from eventtracking.errors import DeliveryError
from eventtracking.protocols import Downstream
from eventtracking_buffer._alarm import Alarm
from eventtracking_buffer._clock import monotonic
from eventtracking_buffer._item import Item
from eventtracking_buffer._lane import Lane
from eventtracking_buffer._memory import MemoryStore
from eventtracking_buffer._worker import Worker, stop_all
from eventtracking_buffer.dead_letters import DeadLetter, Selection

if TYPE_CHECKING:
    from eventtracking_buffer.router import BufferRouter

__all__ = ["MemoryEngine"]

_log = logging.getLogger("eventtracking.buffer")
_POLL_S: Final = 0.005
_STOP_S: Final = 0.2
_DROPPED_OLDEST: Final = "the buffer was full, and newer events came"
_UNDELIVERED: Final = "not delivered before the buffer was closed"


class MemoryEngine:
    """Runs one buffer in one process.

    Args:
        options: The router, for its options.
    """

    def __init__(self, options: BufferRouter, downstream: Downstream) -> None:
        self._options = options
        self._path = downstream.path
        self._downstream = downstream
        self._store = MemoryStore(
            downstream, options.max_dead_letters, options.max_bytes is not None
        )
        self._lanes = {
            leaf: Lane(leaf, downstream, self._store, options.pace()) for leaf in downstream.leaves
        }
        self._workers = {
            leaf: Worker(lane, f"eventtracking-buffer:{leaf}") for leaf, lane in self._lanes.items()
        }
        self._queues = tuple(
            (self._store.queues[leaf], self._lanes[leaf], self._workers[leaf])
            for leaf in self._lanes
        )
        self._alarm = Alarm(self._path)
        self._closed = False

    # Taking events over

    def send(self, events: Sequence[Event]) -> None:
        """Store the events and return.

        Raises:
            Rejected: For those that found no room.
        """
        if self._closed:
            raise DeliveryError("the buffer is closed")
        refused: dict[str, str] = {}
        held, max_events, put = self._store.held, self._options.limit_events, self._store.put
        measure = self._store.size_of if self._options.max_bytes is not None else _not_measured
        for event in events:
            size = measure(event)
            if len(held) >= max_events or (size and self._is_full(size)):
                reason = self._make_room(size)
                if reason is not None:
                    refused[event.id] = reason
                    continue
            put(event, size)
        for queue, lane, worker in self._queues:
            if len(queue) >= lane.wake_at:
                worker.wake()
        if refused:
            self._alarm.note("refused: the buffer is full", len(refused))
            raise Rejected(refused)

    def _is_full(self, size: int) -> bool:
        limit = self._options.max_bytes
        return len(self._store) >= self._options.limit_events or (
            limit is not None and self._store.bytes + size > limit
        )

    def _make_room(self, size: int) -> str | None:
        """Do what `when_full` says; return why the event is refused, or None if there is
        room now.
        """
        limit = self._options.max_bytes
        if limit is not None and size > limit:
            return "larger than the whole buffer"
        if self._options.when_full == "drop_oldest":
            while self._is_full(size):
                if not self._store.drop_oldest(_DROPPED_OLDEST):
                    return "the buffer is full, and all of it is on its way"
                self._alarm.note("dropped: the buffer is full, and newer events came")
            return None
        if self._options.when_full == "block" and self._wait_for_room(size):
            return None
        return "the buffer is full"

    def _wait_for_room(self, size: int) -> bool:
        if any(worker.is_current for worker in self._workers.values()):
            return False  # nobody else would make room
        for worker in self._workers.values():
            worker.wake()
        deadline = monotonic() + self._options.block_timeout_s
        while self._is_full(size):
            if self._closed or monotonic() >= deadline:
                return False
            time.sleep(_POLL_S)
        return True

    # The end

    def flush(self, timeout_s: float) -> bool:
        """Deliver what waits, within the time, and without the delay that a failure has brought.

        Return whether nothing is left.

        It does not wait for as many events as come meanwhile.
        """
        deadline = monotonic() + timeout_s
        goal = self._store.counts().received
        self._hurry()
        while len(self._store):
            late = monotonic() >= deadline or self._store.counts().settled >= goal
            if late or any(worker.is_current for worker in self._workers.values()):
                return False
            for worker in self._workers.values():
                worker.drive(deadline)
            time.sleep(min(_POLL_S, max(deadline - monotonic(), 0.0)))
        return True

    def _hurry(self) -> None:
        for lane, worker in zip(self._lanes.values(), self._workers.values(), strict=True):
            if len(self._store):
                lane.hurry = True
                worker.wake()

    def close(self) -> None:
        """End the threads. What is still held is lost: it is failed, and its number logged."""
        self._closed = True
        stop_all(self._workers.values(), _STOP_S)
        left = len(self._store)
        while any([self._give_up(leaf, lane) for leaf, lane in self._lanes.items()]):  # noqa: C419 - each of them, every time
            pass  # those that waited for another event of their id come next
        self._alarm.close()
        if left:
            _log.warning(
                "buffer %r: closed with %d event(s) not delivered, which are lost", self._path, left
            )

    def _give_up(self, leaf: str, lane: Lane) -> int:
        """Fail what waits for a leaf; what is on its way there just now stays pending.

        Return how many there were.
        """
        mine = lane.busy.acquire(blocking=False)
        items: list[Item] = lane.give_up() if mine else []
        return self._store.give_up(leaf, items, _UNDELIVERED)

    def probe(self) -> None:
        """Memory is there."""

    def after_fork(self) -> None:
        """In a forked child: nothing is held that is not the parent's alone."""

    # Looking in

    def counts(self) -> Mapping[str, Counts]:
        """The counts of the buffer's own path."""
        return {self._path: self._store.counts()}

    def letters(self, selection: Selection) -> list[DeadLetter]:
        """Return dead letters."""
        return self._store.letters(selection)

    def replay(self, selection: Selection) -> int:
        """Deliver dead letters once more."""
        return self._store.replay(selection, self._retry)

    def _retry(self, leaf: str, items: Sequence[Item]) -> None:
        self._lanes[leaf].again(items)
        self._lanes[leaf].hurry = True
        self._workers[leaf].wake()

    def purge(self, selection: Selection) -> int:
        """Give dead letters up."""
        return self._store.purge(selection)

    def status(self) -> dict[str, Any]:
        """Tell how it stands."""
        return {
            "pending": len(self._store),
            "lanes": [lane.status() for lane in self._lanes.values()],
        }


def _not_measured(_event: Event) -> int:
    """Stand in for the size where no limit asks for it, because measuring costs as much as the rest
    of `send`.
    """
    return 0
