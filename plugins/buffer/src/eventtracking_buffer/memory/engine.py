"""Runs a buffer in memory: limits, lanes, their threads, and the end."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from eventtracking import Counts, Event, Rejected
from eventtracking.errors import DeliveryError
from eventtracking.protocols import Downstream
from eventtracking_buffer.dead_letters import DeadLetter, Selection, Wanted
from eventtracking_buffer.delivery.clock import monotonic
from eventtracking_buffer.delivery.housekeeper import Housekeeper
from eventtracking_buffer.delivery.lane import Lane
from eventtracking_buffer.delivery.loss_reporter import LossReporter
from eventtracking_buffer.delivery.worker import Worker, stop_all
from eventtracking_buffer.memory.letters import MemoryLetters
from eventtracking_buffer.memory.store import MemoryStore

if TYPE_CHECKING:
    from eventtracking_buffer.router import BufferRouter

__all__ = ["MemoryEngine"]

_log = logging.getLogger("eventtracking.buffer")
_POLL_S: Final = 0.005
_STOP_S: Final = 0.2
_SAMPLED: Final = 16
"""One event in so many is measured by its sender; measuring each would double its cost."""
_DROP_SHARE: Final = 1_000
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
        self._losses = LossReporter(self._path)
        self._store = MemoryStore(downstream, options.clock, self._arrived)
        self._letters = MemoryLetters(
            self._store,
            options.limit_dead_letters,
            options.limit_dead_letter_bytes,
            options.dead_letter_max_age_s,
            options.clock,
        )
        self._workers = {
            path: Worker(
                Lane(path, downstream, self._store, options.pace(), options.clock),
                f"eventtracking-buffer:{path}",
                self._losses.no_thread,
            )
            for path in downstream.lanes
        }
        self._each_worker = tuple((worker.lane, worker) for worker in self._workers.values())
        self._housekeeper = Housekeeper(
            f"eventtracking-buffer:{self._path}", self._look, self._losses.no_thread
        )
        self._max_events, self._max_bytes = options.limit_events, options.limit_bytes
        self._unmeasured = 0
        self._closed = self._has_ended = False

    # Taking events over

    def send(self, events: Sequence[Event]) -> None:
        """Store the events and return.

        Raises:
            Rejected: For those that found no room.
        """
        if self._closed:
            raise DeliveryError("the buffer is closed")
        refused: dict[str, str] = {}
        store = self._store
        incoming, held, put = store.incoming, store.held, store.put
        for event in events:
            size = self._measure(event)
            if (
                len(incoming) + len(held) >= self._max_events
                or store.held_bytes + store.incoming_bytes + size > self._max_bytes
            ):
                reason = self._make_room(size)
                if reason is not None:
                    refused[event.id] = reason
                    continue
            put(event, 0)
            store.incoming_bytes += size
        for lane, worker in self._each_worker:
            if len(incoming) >= lane.wake_at:
                worker.wake()
        if refused:
            self._losses.note("refused: the buffer is full", len(refused))
            raise Rejected(refused)

    def _measure(self, event: Event) -> int:
        """Return about the size of an event, most often a guess by those before."""
        store = self._store
        self._unmeasured += 1
        is_near = 2 * (store.held_bytes + store.incoming_bytes) >= self._max_bytes
        if self._unmeasured % _SAMPLED and not is_near and self._options.max_bytes is None:
            return int(store.mean_bytes)
        size = store.size_of(event)
        store.mean_bytes = max(float(size), store.mean_bytes * 0.9)
        return size

    def _is_full(self, size: int) -> bool:
        store = self._store
        waiting = store.held_bytes + store.incoming_bytes
        return len(store) >= self._max_events or waiting + size > self._max_bytes

    def _make_room(self, size: int) -> str | None:
        """Do what `when_full` says; return why the event is refused, or None if there is room."""
        if size > self._max_bytes:
            return "larger than the whole buffer"
        if self._options.when_full == "drop_oldest":
            return self._housekeeper.call(lambda: self._drop_oldest(size))
        if self._options.when_full == "block" and self._wait_for_room(size):
            return None
        return "the buffer is full"

    def _drop_oldest(self, size: int) -> str | None:
        count = max(self._max_events // _DROP_SHARE, 1)
        while self._is_full(size):
            dropped = self._store.drop_oldest(count, _DROPPED_OLDEST)
            if not dropped:
                return "the buffer is full, and all of it is on its way"
            self._losses.note("dropped: the buffer is full, and newer events came", dropped)
        return None

    def _wait_for_room(self, size: int) -> bool:
        if self._is_own_thread():
            return False  # no other thread would make room
        for worker in self._workers.values():
            worker.wake()
        deadline = monotonic() + self._options.block_timeout_s
        while self._is_full(size):
            if self._closed or monotonic() >= deadline:
                return False
            time.sleep(_POLL_S)
        return True

    def _is_own_thread(self) -> bool:
        return any(worker.is_current for worker in self._workers.values())

    def _arrived(self, lane: str, waiting: int) -> None:
        worker = self._workers[lane]
        if waiting >= worker.lane.wake_at:
            worker.wake()

    def _look(self) -> float:
        """Give up dead letters that became too old."""
        count = self._letters.trim()
        if count:
            self._losses.note("lost: there were too many dead letters, or too old ones", count)
        return 10.0

    # The end

    def flush(self, timeout_s: float) -> bool:
        """Deliver what waits, within the time, without the delay that a failure has brought.

        It does not wait for as many events as come meanwhile. A pause that a destination asked for
        is kept.

        Returns:
            Whether nothing is left.
        """
        deadline = monotonic() + timeout_s
        goal = self._own().received
        for worker in self._workers.values():
            worker.lane.hurry = bool(len(self._store))
            worker.wake()
        while len(self._store):
            late = monotonic() >= deadline or self._own().settled >= goal
            if late or self._is_own_thread() or self._is_paused():
                return not len(self._store)
            for worker in self._workers.values():
                worker.drive()
            time.sleep(min(_POLL_S, max(deadline - monotonic(), 0.0)))
        return True

    def _is_paused(self) -> bool:
        """Whether everything that is left waits for the end of a pause."""
        busy = [lane for lane, _ in self._each_worker if lane.has_work]
        return bool(busy) and all(lane.is_paused for lane in busy)

    def _own(self) -> Counts:
        return self.counts()[self._path]

    def close(self) -> None:
        """End the threads. What is still held is lost: it is failed, and its number logged."""
        self._closed = True
        if self._has_ended:
            return
        stop_all(self._workers.values(), _STOP_S)
        self._housekeeper.call(self._end)
        self._housekeeper.stop(0.0)
        self._losses.close()

    def _end(self) -> None:
        """Fail what waits; what a lane is just delivering stays pending."""
        if self._has_ended:
            return
        left = len(self._store)
        self._store.distribute()
        for path, worker in self._workers.items():
            lane = worker.lane
            items = self._store.take(path, 1 << 62, 1 << 62)
            if lane.busy.acquire(blocking=False):
                items += lane.give_up()
            self._store.fail(path, items, _UNDELIVERED)
        self._has_ended = True
        if left:
            _log.warning(
                "buffer %r: closed with %d event(s) not delivered, which are lost", self._path, left
            )

    def probe(self) -> None:
        """Memory is there."""

    def after_fork(self) -> None:
        """In a forked child: nothing is held that is not the parent's alone."""

    # Looking in

    def counts(self) -> Mapping[str, Counts]:
        """Read the counts of the buffer's own path and of those below."""
        return self._housekeeper.call(self._store.counts)

    def letters(self, selection: Selection) -> list[DeadLetter]:
        """Return dead letters."""
        return self._housekeeper.call(lambda: self._letters.chosen(selection))

    def request(self, selection: Selection, wanted: Wanted) -> int:
        """Deliver dead letters once more, or give them up."""
        ask = self._replay if wanted == "replay" else self._letters.purge
        return self._housekeeper.call(lambda: ask(selection))

    def _replay(self, selection: Selection) -> int:
        items = self._letters.replay(selection)
        for item in items:
            (leaf,) = item.leaves or ()
            lane, worker = next(pair for pair in self._each_worker if leaf in pair[0].leaves)
            lane.again([item])
            lane.hurry = True
            worker.wake()
        return len(items)

    def status(self) -> dict[str, Any]:
        """Tell how it stands."""
        return {
            "pending": len(self._store),
            "oldest_at": self._store.oldest_at(),
            "bytes": self._store.held_bytes + self._store.incoming_bytes,
            "shared": False,
            "delivered_by": None,
            "lanes": [lane.status() for lane, _ in self._each_worker],
        }
