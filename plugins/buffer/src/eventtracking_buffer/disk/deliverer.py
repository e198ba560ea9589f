"""The delivery of a buffer on disk, in the one process that delivers: lanes, workers, the store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from eventtracking import Event
from eventtracking.protocols import Downstream
from eventtracking_buffer.delivery.lane import Lane
from eventtracking_buffer.delivery.loss_reporter import LossReporter
from eventtracking_buffer.delivery.worker import Worker, stop_all
from eventtracking_buffer.disk.journal.writer import JournalWriter
from eventtracking_buffer.disk.requests import Requests
from eventtracking_buffer.disk.state.connection import State, to_words
from eventtracking_buffer.disk.store import DiskStore
from eventtracking_buffer.disk.takeover import take_over

if TYPE_CHECKING:
    from eventtracking_buffer.router import BufferRouter

__all__ = ["Deliverer"]

_LANE_WAIT_S: Final = 1.0
_FORGET_S: Final = 30.0
_LOOK_AFTER_S: Final = 0.5
_LOOK_ANYWAY_S: Final = 5.0
"""How often to look without a sign that there is anything."""
_PAUSES: Final = ((2.0, 0.05), (30.0, 0.5))
"""How often to look for events of other processes: so long after the last ones, so often."""
_IDLE_S: Final = 1.0


class Deliverer:
    """Delivers. All methods but `arrived`, `remember` and `drive` are for the housekeeper's thread.

    Args:
        since: When this process began, see `take_over`.

    Raises:
        OSError, sqlite3.Error: If the medium refuses.
    """

    def __init__(
        self,
        options: BufferRouter,
        downstream: Downstream,
        state: State,
        losses: LossReporter,
        since: float,
    ) -> None:
        self._options = options
        self._losses = losses
        self._store = DiskStore(Path(options.folder), downstream, state, options.clock, losses.note)
        self._requests = Requests(self._store)
        self._noted: list[tuple[Any, ...]] = []
        self._changed_at = options.clock.monotonic()
        self._version = (0, 0)
        self._is_asked = True
        items = take_over(self._store, since)
        self._workers = {
            path: Worker(
                Lane(path, downstream, self._store, options.pace(), options.clock),
                f"eventtracking-buffer:{path}",
                losses.no_thread,
                max_wait_s=_LANE_WAIT_S * 60,
            )
            for path in downstream.lanes
        }
        self._counted = dict.fromkeys(self._workers, 0)
        for path, waiting in items.items():
            self._workers[path].lane.again(waiting)

    def arrived(self, count: int) -> None:
        """Wake the lanes that wait for as many events as have come. On any thread."""
        for path, worker in self._workers.items():
            self._counted[path] += count
            if self._counted[path] >= worker.lane.wake_at:
                self._counted[path] = 0
                worker.wake()

    def remember(self, payload: bytes, event: Event) -> None:
        """Spare the delivery of an event the decoding of what is just stored. On any thread."""
        self._store.recent.put(payload, event)

    def look(self, every: Callable[[str, float], bool], writer: JournalWriter | None) -> float:
        """Look after everything once; return how many seconds to wait before the next time.

        Events of this process wake the lanes themselves, and a lane knows when its next attempt is
        due. So this only finds what other processes have stored or asked for, and where there is
        nothing new, it costs a few system calls.
        """
        store = self._store
        store.refresh()
        if every("ended", _LOOK_ANYWAY_S):
            store.look_for_ended_writers()
        changed = store.has_grown()
        self._wake_lanes(changed)
        changed |= self._serve()
        if every("rest", _LOOK_AFTER_S):
            store.write()
            self._note_lanes()
            self._trim(every("letters", _LOOK_ANYWAY_S))
            store.retire(writer.name if writer else "")
        now = self._options.clock.monotonic()
        self._changed_at = now if changed else self._changed_at
        if now - self._changed_at > _FORGET_S:
            store.recent.clear()
        return _pause_s(now - self._changed_at)

    def _wake_lanes(self, changed: bool) -> None:
        """Wake the lanes that have something to do, and those whose thread could not start."""
        for worker in self._workers.values():
            if (changed or not worker.has_thread) and worker.lane.is_due:
                worker.wake()

    def asked(self) -> None:
        """Look for requests of this process, which leave no trace of another one."""
        self._is_asked = True

    def _serve(self) -> bool:
        version = self._store.state.version()
        if version == self._version and not self._is_asked:
            return False
        self._version, self._is_asked = version, True  # again, if the medium refuses now
        with self._store.lock:
            items = self._requests.serve()
            self._is_asked = self._requests.has_more()
        for path, found in items.items():
            lane = self._workers[path].lane
            lane.again(found)
            lane.hurry = True
            self._workers[path].wake()
        return bool(items) or self._is_asked

    def _trim(self, old_ones: bool) -> None:
        """Give up dead letters beyond the limits, where there are more, or for their age."""
        options, writer = self._options, self._store.writer
        if not writer.has_dead or not (old_ones or writer.has_buried):
            return
        writer.has_buried = False
        with self._store.lock:
            count = self._requests.trim(
                options.limit_dead_letters,
                options.limit_dead_letter_bytes,
                options.dead_letter_max_age_s,
            )
        if count:
            writer.has_buried = True  # there may be more of them than are given up at once
            self._losses.note("lost: there were too many dead letters, or too old ones", count)

    def _note_lanes(self) -> None:
        """Write down how the lanes are, for people who look in from elsewhere."""
        now = self._options.clock.time()
        lanes = [worker.lane for worker in self._workers.values()]
        rows = [
            (lane.path, lane.failures, to_words(lane.last_error), now + lane.resumes_in_s, now)
            for lane in lanes
        ]
        if [row[:3] for row in rows] != self._noted:
            self._store.note_lanes(rows)
            self._noted = [row[:3] for row in rows]

    def give_up_oldest(self, count: int, reason: str) -> int:
        """Fail the oldest events that the most backward lane has not had; return how many."""
        lane = max(self._workers, key=self._store.waiting)
        return self._store.give_up_oldest(lane, count, reason)

    # For `flush`

    def hurry(self) -> None:
        """Have the lanes go on without waiting for more events, or for the end of a delay."""
        for worker in self._workers.values():
            worker.lane.hurry = True
            worker.wake()

    def is_stuck(self) -> bool:
        """Whether everything that waits does so for a lane that fails, or is paused."""
        busy = [worker.lane for worker in self._workers.values() if worker.lane.has_work]
        return bool(busy) and all(lane.is_stuck for lane in busy)

    def is_idle(self) -> bool:
        """Whether nothing waits for any lane. Events for routes that are gone may wait still."""
        return not any(worker.lane.has_work for worker in self._workers.values())

    def drive(self) -> None:
        """Deliver on the calling thread, where no other can be started."""
        for worker in self._workers.values():
            worker.drive()

    def is_own_thread(self) -> bool:
        """Whether the calling thread is that of a lane."""
        return any(worker.is_current for worker in self._workers.values())

    def status(self) -> list[dict[str, Any]]:
        """Tell how the lanes stand."""
        return [worker.lane.status() for worker in self._workers.values()]

    # The end

    def stop(self, timeout_s: float) -> None:
        """End the threads of the lanes."""
        stop_all(self._workers.values(), timeout_s)

    def finish(self) -> None:
        """Write down the rest, and delete what is done with."""
        self._store.write()
        self._store.refresh()
        self._store.look_for_done_files()
        self._store.retire("")

    def close(self) -> None:
        """Write down nothing from now on: another process may deliver."""
        self._store.close()


def _pause_s(quiet_s: float) -> float:
    return next((pause_s for limit_s, pause_s in _PAUSES if quiet_s < limit_s), _IDLE_S)
