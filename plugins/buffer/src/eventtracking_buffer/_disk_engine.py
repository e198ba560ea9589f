"""What drives a buffer on disk: the journal for this process, and, in one process at a time, the
delivery.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs

from eventtracking import Counts, Event, Rejected
from eventtracking.errors import DeliveryError
from eventtracking.protocols import Downstream
from eventtracking_buffer import codec
from eventtracking_buffer._alarm import Alarm
from eventtracking_buffer._books import Balance, Books
from eventtracking_buffer._clock import monotonic
from eventtracking_buffer._disk import DiskStore
from eventtracking_buffer._folder import DeliveryLock, cause_of, open_state, prepare_folder
from eventtracking_buffer._forks import is_inside, refuse_inside
from eventtracking_buffer._journal import JournalWriter, journal_bytes, unusable_files
from eventtracking_buffer._keeper import Keeper
from eventtracking_buffer._lane import Lane
from eventtracking_buffer._letters import letters_in, request
from eventtracking_buffer._memory_engine import MemoryEngine
from eventtracking_buffer._records import EVENT, HEADER_BYTES, MAX_PAYLOAD_BYTES, frame
from eventtracking_buffer._room import Room
from eventtracking_buffer._state import InheritedStateError, State
from eventtracking_buffer._worker import Worker, stop_all
from eventtracking_buffer.dead_letters import DeadLetter, Selection

if TYPE_CHECKING:
    from eventtracking_buffer.router import BufferRouter

__all__ = ["DiskEngine"]

_POLL_S: Final = 0.01
_STOP_S: Final = 0.2
_DISK_PAUSE_S: Final = 1.0
_MAX_FALLBACK_EVENTS: Final = 10_000
_STUCK_FAILURES: Final = 3
_STANDSTILL_S: Final = 1.0
_OVERSHOOT: Final = 1.1
_BATCH_SHARE: Final = 100
"""The part of the limit that is given up at once: doing it for each event would cost each emit() a
transaction.
"""
_LEAST_RECORD_BYTES: Final = HEADER_BYTES + 40
"""No event is stored in less: its id alone has 36."""
_LANE_WAIT_S: Final = 0.5
_DROPPED_OLDEST: Final = "the buffer was full, and newer events came"


class DiskEngine:
    """Runs one buffer in one process.

    `send` appends to this process's file of the journal, without a lock.

    While the disk refuses, events wait in a bounded memory buffer, and say so.

    Args:
        options: The router, for its options.
    """

    def __init__(self, options: BufferRouter, downstream: Downstream) -> None:
        self._options = options
        self._path = downstream.path
        self._downstream = downstream
        self._folder = Path(options.folder)
        self._synced = options.sync == "always"
        self._alarm = Alarm(self._path)
        self._lock = DeliveryLock(self._folder)
        self._writer: JournalWriter | None = None
        self._state: State | None = None
        self._books: Books | None = None
        self._store: DiskStore | None = None
        self._lanes: dict[str, Lane] = {}
        self._workers: dict[str, Worker] = {}
        self._fallback: MemoryEngine | None = None
        self._disk_from = 0.0
        self._refusal = ""
        self._room = Room(options.limit_events, options.limit_bytes, self._balance)
        self._final: Balance | None = None
        self._closed = False
        self._keeper = Keeper(self._keep, f"eventtracking-buffer:{self._path}")
        self._prepare()
        self._keeper.start()

    # Opening

    def _prepare(self) -> None:
        """Open the files. Where that fails, events wait in memory, and the keeper tries again."""
        try:
            for remark in prepare_folder(self._folder):
                self._alarm.note(remark, 0)
            self._open_books()
        except InheritedStateError:
            self._alarm.note(
                "left for another process to deliver: the parent of this one used the state when it"
                " forked",
                0,
            )
        except (OSError, sqlite3.Error) as error:
            self._disk_failed(error)
            return
        self._writer = JournalWriter(self._folder, self._synced)
        self._disk_from = 0.0
        with suppress(OSError, sqlite3.Error):
            self._room.measure()

    def _open_books(self) -> None:
        state, aside = open_state(self._folder, self._synced)
        for name in aside:
            self._alarm.note(f"may come again: the damaged state was set aside as {name}", 0)
            with state.transaction():
                state.add_counts(self._path, Counts(reasons={"damaged state set aside": 1}))
        self._state = state
        self._books = Books(self._folder, self._path, self._downstream.leaves, state)

    def _disk_failed(self, error: Exception) -> None:
        self._disk_from = monotonic() + _DISK_PAUSE_S
        self._refusal = f"{type(error).__name__}: {cause_of(error)}"
        self._alarm.note(f"kept in memory, because the disk refuses ({self._refusal})", 0)

    def probe(self) -> None:
        """See that events can be stored.

        Raises:
            DeliveryError: If the disk refused the last time.
        """
        if self._writer is None or self._disk_from:
            raise DeliveryError(f"the folder {str(self._folder)!r} cannot be used: {self._refusal}")

    # Taking events over

    def send(self, events: Sequence[Event]) -> None:
        """Store the events and return.

        Raises:
            Rejected: For those that found no room.
        """
        if self._closed:
            raise DeliveryError("the buffer is closed")
        now = time.time()
        data = b"".join([frame(codec.encode(event), EVENT, now) for event in events])
        refused: dict[str, str] = {}
        if len(data) > MAX_PAYLOAD_BYTES or not self._room.fits(len(events), len(data)):
            events, data, refused = self._fit(events, data, now)
        if events:
            self._store_all(events, data)
        if refused:
            self._alarm.note("refused: the buffer is full", len(refused))
            raise Rejected(refused)

    def _store_all(self, events: Sequence[Event], data: bytes) -> None:
        writer = self._writer
        if writer is None or (self._disk_from and monotonic() < self._disk_from):
            self._fall_back(events)
            return
        try:
            writer.append(data)
        except OSError as error:
            self._disk_failed(error)
            self._fall_back(events)
            return
        self._disk_from = 0.0
        self._room.take(len(events), len(data))
        for leaf, lane in self._lanes.items():
            lane.arrived += len(events)
            if lane.arrived >= lane.wake_at:
                self._workers[leaf].wake()

    def _fall_back(self, events: Sequence[Event]) -> None:
        if self._fallback is None:
            limit = min(self._options.limit_events, _MAX_FALLBACK_EVENTS)
            options = attrs.evolve(
                self._options, storage="memory", max_events=limit, when_full="drop_newest"
            )
            self._fallback = MemoryEngine(options, self._downstream)
        self._alarm.note("kept in memory, because the disk refuses", len(events))
        self._fallback.send(events)

    def _fit(
        self, events: Sequence[Event], data: bytes, now: float
    ) -> tuple[Sequence[Event], bytes, dict[str, str]]:
        """Do what `when_full` says; return what may be stored, and why the rest may not."""
        is_small = len(data) <= MAX_PAYLOAD_BYTES
        if is_small and (self._writer is None or self._make_room(len(events), len(data))):
            return events, data, {}
        fitting: list[Event] = []
        pieces: list[bytes] = []
        room, room_bytes = self._room.left, self._room.left_bytes
        for event in events:
            piece = frame(codec.encode(event), EVENT, now)
            if room > len(fitting) and min(room_bytes, MAX_PAYLOAD_BYTES) >= len(piece):
                fitting.append(event)
                pieces.append(piece)
                room_bytes -= len(piece)
        kept = {event.id for event in fitting}
        return (
            fitting,
            b"".join(pieces),
            {e.id: "the buffer is full" for e in events if e.id not in kept},
        )

    def _make_room(self, count: int, size: int) -> bool:
        mode = self._options.when_full
        deadline = monotonic() + (self._options.block_timeout_s if mode == "block" else 0.0)
        while True:
            if not self._room.is_fresh:
                try:
                    self._room.measure()
                except (
                    OSError,
                    sqlite3.Error,
                ):  # how much waits is not known, which does not mean too much
                    return True
            if self._room.fits(count, size):
                return True
            if mode == "drop_oldest" and self._drop_oldest(count, size):
                return True
            if monotonic() >= deadline or self._is_own_thread() or self._closed or is_inside():
                return False
            time.sleep(_POLL_S)

    def _drop_oldest(self, count: int, size: int) -> bool:
        """Give up the oldest events, if this process delivers; the one that does follows within
        moments otherwise.
        """
        if self._store is None or is_inside():
            return self._room.left > -self._options.limit_events * (_OVERSHOOT - 1.0)
        if self._is_own_thread():
            return False
        while not self._room.fits(count, size):
            if not self._give_up(
                max(count - self._room.left, self._options.limit_events // _BATCH_SHARE, 1)
            ):
                return False
            self._room.measure()
        return True

    def _give_up(self, count: int) -> int:
        """Fail the oldest events that the most backward leaf has not had.

        Return how many there were.
        """
        store = self._store
        if store is None:
            return 0
        leaf = max(self._lanes, key=store.waiting)
        given_up = store.give_up_oldest(leaf, count, _DROPPED_OLDEST)
        if given_up:
            self._alarm.note("dropped: the buffer is full, and newer events came", given_up)
        return given_up

    def _is_own_thread(self) -> bool:
        return self._keeper.is_current or any(
            worker.is_current for worker in self._workers.values()
        )

    # Delivering, in one process at a time

    def _keep(self) -> float:
        """Look after everything once. Return how many seconds to wait before the next time."""
        if self._closed:
            return _LANE_WAIT_S
        if self._writer is None:
            if monotonic() >= self._disk_from:
                self._prepare()
            return _DISK_PAUSE_S
        if self._state is None:  # it is the parent's
            return _DISK_PAUSE_S
        try:
            self._look_around()
            if self._store is None and not self._take_over():
                return _LANE_WAIT_S
            self._look_after()
        except (OSError, sqlite3.Error) as error:
            self._alarm.note(
                f"wait: the disk refuses ({type(error).__name__}: {cause_of(error)})", 0
            )
            return _DISK_PAUSE_S
        return 0.05

    def _look_around(self) -> None:
        """Do what every process does, whether or not it delivers."""
        if self._keeper.every("files", 0.5) and self._are_files_lost():
            self._restore()
        if self._keeper.every("strays", 10.0):
            for name in unusable_files(self._folder):
                self._alarm.note(f"skipped: {name} in the folder cannot be read", 0)
        if self._keeper.every("room", 1.0):
            self._watch_room()

    def _watch_room(self) -> None:
        """Measure, if anybody can be near the limit: other processes store as well, and nobody
        counts for all.
        """
        size, limit = journal_bytes(self._folder), self._options.limit_bytes
        if size // _LEAST_RECORD_BYTES > self._options.limit_events // 2 or size > limit // 2:
            self._room.measure()

    # Files that somebody deletes while they are in use

    def _are_files_lost(self) -> bool:
        assert self._state is not None  # noqa: S101 - the keeper has looked
        assert self._writer is not None  # noqa: S101 - the same
        return self._state.is_gone or self._lock.is_lost or self._writer.is_lost()

    def _restore(self) -> None:
        """Put back what somebody has deleted, from what is still open here.

        Each process does that for its own file of the journal, and the one that delivers for the
        state.
        """
        self._alarm.note(
            "may be lost, or come again: files of the buffer were deleted or replaced", 0
        )
        prepare_folder(self._folder)
        if self._writer is not None and self._writer.is_lost():
            self._writer.restore()
        if self._lock.is_lost:
            self._lock.release()
        if not self._lock.is_mine and not self._lock.take():
            self._retreat()
        if self._state is not None and self._state.is_gone:
            self._restore_state(self._state)

    def _restore_state(self, state: State) -> None:
        if not state.path.exists():
            if not self._lock.is_mine:  # whoever delivers now writes it
                return
            if state.restore():
                return
        self._retreat()
        state.close()
        self._open_books()

    def _retreat(self) -> None:
        """Stop delivering, because another process does, or because the state is another one.

        What is on its way comes again.
        """
        store, lanes = self._store, self._lanes
        if store is None:
            return
        self._store, self._lanes = (
            None,
            {},
        )  # the workers stay, for a sender who has just looked at the lanes
        stop_all(self._workers.values(), 0.0)
        store.close()
        stop_all(self._workers.values(), _STOP_S)
        held = [item for lane in lanes.values() for item in (*lane.give_up(), *lane.in_flight)]
        self._downstream.forget([item.event.id for item in held])
        self._downstream.take_counts()  # they belong to the books that are gone

    def _take_over(self) -> bool:
        if not self._lock.is_mine and not self._lock.take():
            return False
        assert self._state is not None  # noqa: S101 - it is opened before the writer
        store = DiskStore(self._folder, self._downstream, self._state, self._alarm.note)
        lanes = {
            leaf: Lane(leaf, self._downstream, store, self._options.pace())
            for leaf in self._downstream.leaves
        }
        store.take_over(lanes)
        self._workers = {
            leaf: Worker(lane, f"eventtracking-buffer:{leaf}", max_wait_s=_LANE_WAIT_S)
            for leaf, lane in lanes.items()
        }
        self._store, self._lanes = store, lanes
        return True

    def _look_after(self) -> None:
        store = self._store
        if store is None:
            return
        store.refresh()
        for leaf, lane in self._lanes.items():
            if lane.has_work and (store.waiting(leaf) >= lane.wake_at or lane.is_overdue):
                self._workers[leaf].wake()
        if self._keeper.every("requests", 0.2):
            store.requests(self._lanes)
            store.write()
            store.note_lanes(self._lanes.values())
        if self._keeper.every("retire", 0.5):
            store.retire(self._writer.name if self._writer else "")
        if self._options.when_full == "drop_oldest" and self._keeper.every("measure", 0.2):
            self._room.measure()
            if self._room.left < 0:
                self._give_up(-self._room.left)

    # The end

    def flush(self, timeout_s: float) -> bool:
        """Deliver what waits, within the time.

        Where every leaf that something waits for fails, it stays on disk at once.

        It does not wait for as many events as come meanwhile, and not at all in a signal handler
        that has interrupted the buffer.
        """
        if is_inside():
            return False
        deadline = monotonic() + timeout_s
        hurried = False
        still_since, least, goal = monotonic(), 1 << 62, -1
        while True:
            self._keeper.drive()
            if self._store is not None and not hurried:
                hurried = True
                self._hurry()
            done = self._fallback is None or self._fallback.flush(0.0)
            own = self._own_counts()
            left, goal = own.pending, own.received if goal < 0 else goal
            late = monotonic() >= deadline or self._is_own_thread() or self._closed
            if late or (done and (left == 0 or own.settled >= goal)):
                return done and left == 0
            if left < least:
                least, still_since = left, monotonic()
            if done and self._is_stuck(hurried, monotonic() - still_since):
                return False
            for worker in self._workers.values():
                worker.drive(deadline)
            time.sleep(min(_POLL_S, max(deadline - monotonic(), 0.0)))

    def _own_counts(self) -> Counts:
        if self._books is None:
            return Counts()
        try:
            return self._balance().counts.get(self._path, Counts())
        except (OSError, sqlite3.Error):
            return Counts(received=1, pending=1)

    def _hurry(self) -> None:
        for leaf, lane in self._lanes.items():
            lane.hurry = True
            self._workers[leaf].wake()

    def _is_stuck(self, hurried: bool, still_s: float) -> bool:
        if not hurried:
            return still_s > _STANDSTILL_S
        busy = [lane for lane in self._lanes.values() if lane.has_work]
        return bool(busy) and all(
            lane.failures >= _STUCK_FAILURES and not lane.hurry for lane in busy
        )

    def close(self) -> None:
        """End the threads and let go of the files. What is not delivered stays on disk."""
        if self._closed:
            return
        self._closed = True
        if is_inside():  # what is interrupted goes on first
            with suppress(RuntimeError):  # the interpreter ends, and the system closes the files
                threading.Thread(
                    target=self._end, name=f"eventtracking-buffer-end:{self._path}", daemon=True
                ).start()
        else:
            self._end()

    def _end(self) -> None:
        self._keeper.stop(_STOP_S)
        stop_all(self._workers.values(), _STOP_S)
        if self._fallback is not None:
            self._fallback.close()
        with suppress(OSError, sqlite3.Error):
            self._close_files()
        self._alarm.close()

    def _close_files(self) -> None:
        if self._writer is not None:
            self._writer.close()
        try:
            if self._store is not None:
                self._store.write()
                self._store.refresh()
                self._store.retire("")
            if self._books is not None:
                self._final = self._balance()
        finally:
            if self._store is not None:
                self._store.close()
            self._lock.release()
            if self._state is not None:
                self._state.close()

    def after_fork(self) -> None:
        """In a forked child, let go of what is the parent's without touching it."""
        self._lock.release()
        if self._writer is not None:
            self._writer.close()

    # Looking in

    def _balance(self) -> Balance:
        if self._books is None:
            raise OSError(f"{self._folder} cannot be opened")
        if is_inside():
            return self._books.last
        with self._store.lock if self._store is not None else nullcontext():
            balance = self._books.balance()
            return balance if self._store is None else self._store.with_taken(balance)

    def counts(self) -> Mapping[str, Counts]:
        """The counts of the buffer's own path and of those below, of all processes that use it."""
        kept: dict[str, Counts] = {}
        if self._final is not None:
            kept = self._final.counts
        elif self._books is not None:
            kept = self._balance().counts
        if self._fallback is not None:
            own = self._fallback.counts()[self._path]
            kept = {**kept, self._path: kept.get(self._path, Counts()) + own}
        return kept or {self._path: Counts()}

    def letters(self, selection: Selection) -> list[DeadLetter]:
        """Return dead letters."""
        refuse_inside()
        found = [] if self._state is None else letters_in(self._state, selection)
        return found + ([] if self._fallback is None else self._fallback.letters(selection))

    def replay(self, selection: Selection) -> int:
        """Have the process that delivers deliver dead letters once more."""
        return self._request(selection, "replay")

    def purge(self, selection: Selection) -> int:
        """Have the process that delivers give dead letters up."""
        return self._request(selection, "purge")

    def _request(self, selection: Selection, what: str) -> int:
        refuse_inside()
        count = 0 if self._state is None else request(self._state, selection, what)
        self._keeper.wake()
        if self._fallback is not None:
            count += (
                self._fallback.replay(selection)
                if what == "replay"
                else self._fallback.purge(selection)
            )
        return count

    def status(self) -> dict[str, Any]:
        """Tell how it stands."""
        return {
            "pending": self._own_counts().pending,
            "deliverer": self._lock.holder() if not self._lock.is_mine else {"pid": os.getpid()},
            "lanes": [lane.status() for lane in self._lanes.values()],
        }
