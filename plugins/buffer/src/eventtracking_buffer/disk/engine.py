"""Runs a buffer on disk: the journal for this process, and, in one process at a time, the delivery.

The threads and what they touch::

    application   send: one append to this process's file of the journal. No lock.
    housekeeper   everything else: files, the state, taking over, counts, requests
    a lane each   deliver, and write reports
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs

from eventtracking import Counts, Event, Rejected
from eventtracking.errors import DeliveryError
from eventtracking.protocols import Downstream
from eventtracking_buffer import codec
from eventtracking_buffer.dead_letters import DeadLetter, Selection, Wanted
from eventtracking_buffer.delivery.clock import monotonic
from eventtracking_buffer.delivery.housekeeper import Housekeeper
from eventtracking_buffer.delivery.loss_reporter import LossReporter
from eventtracking_buffer.disk.admission import Admission, Capacity
from eventtracking_buffer.disk.deliverer import Deliverer
from eventtracking_buffer.disk.folder import FolderWatch, cause_of, open_state, prepare_folder
from eventtracking_buffer.disk.journal.files import journal_bytes, unusable_files
from eventtracking_buffer.disk.journal.records import EVENT, MAX_PAYLOAD_BYTES, frame
from eventtracking_buffer.disk.journal.writer import JournalWriter
from eventtracking_buffer.disk.lock import DeliveryLock
from eventtracking_buffer.disk.state.connection import InheritedStateError, State
from eventtracking_buffer.disk.state.counts_reader import Balance, CountsReader
from eventtracking_buffer.disk.state.letters import letters_in, request
from eventtracking_buffer.disk.state.schema import NewerLayoutError
from eventtracking_buffer.memory.engine import MemoryEngine

if TYPE_CHECKING:
    from eventtracking_buffer.router import BufferRouter

__all__ = ["DiskEngine"]

_POLL_S: Final = 0.01
_STOP_S: Final = 0.2
_DISK_PAUSE_S: Final = 1.0
_LEFT_ALONE_S: Final = 5.0
_ACTIVE_S: Final = 2.0
_FOLLOW_S: Final = 0.5
_IDLE_FOLLOW_S: Final = 1.0
"""How often a process that does not deliver looks whether it should: with events, and without."""
_IDLE_ROOM_S: Final = 5.0
_LOOK_AGAIN_S: Final = 10.0
_BEAT_S: Final = 2.0
_MAX_FALLBACK_EVENTS: Final = 10_000
_STANDSTILL_S: Final = 1.0
_IDLE_S: Final = 0.3
_DELETED: Final = "the state was deleted: counts begin at 0, events may come twice"


class DiskEngine:
    """Runs one buffer in one process.

    While the disk refuses, events wait in a bounded memory buffer, and the log says so.

    Args:
        options: The router, for its options.
    """

    def __init__(self, options: BufferRouter, downstream: Downstream) -> None:
        self._options = options
        self._path = downstream.path
        self._downstream = downstream
        self._folder = Path(options.folder)
        self._synced = options.sync == "always"
        self._began = options.clock.time()
        self._losses = LossReporter(self._path)
        self._lock = DeliveryLock(self._folder)
        self._writer: JournalWriter | None = None
        self._state: State | None = None
        self._counts: CountsReader | None = None
        self._deliverer: Deliverer | None = None
        self._fallback: MemoryEngine | None = None
        self._disk_from = 0.0
        self._state_from = 0.0
        self._refusal = ""
        self._capacity = Capacity(options.limit_events, options.limit_bytes, self._balance)
        self._final: Mapping[str, Counts] | None = None
        self._closed = self._has_ended = False
        self._turning = False
        self._has_stored = False
        """Whether this process has stored events since the last look."""
        self._active_until = 0.0
        self._watch = FolderWatch(self._folder, monotonic, _LOOK_AGAIN_S)
        self._housekeeper = Housekeeper(
            f"eventtracking-buffer:{self._path}", self._look, self._losses.no_thread
        )
        self._admission = Admission(
            options, self._capacity, self._housekeeper, self._losses, lambda: self._deliverer
        )
        self._housekeeper.call(self._prepare)
        self._housekeeper.wake()

    # Opening, on the housekeeper's thread

    def _prepare(self) -> None:
        """Start this process's file of the journal, before anything that a backlog makes slow.

        No emit, not even the first, then waits for this thread, which may be counting a million
        events. Where it fails, events wait in memory, and it is tried again.
        """
        if self._writer is not None:  # the thread has looked before it was asked
            return
        writer = JournalWriter(self._folder, self._synced)
        try:
            for remark in prepare_folder(self._folder):
                self._losses.note(remark, 0)
            writer.turn()
        except OSError as error:
            self._disk_failed(error)
            return
        self._writer = writer
        self._disk_from = 0.0

    def _open_state(self) -> State | None:
        """Open the state, unless it is; None where this process must not, or not now."""
        if self._state is not None or self._writer is None or monotonic() < self._state_from:
            return self._state
        try:
            state, aside = open_state(self._folder, self._synced)
        except (InheritedStateError, NewerLayoutError) as error:
            self._state_from = monotonic() + _LEFT_ALONE_S
            self._losses.note(f"left for another process to deliver ({cause_of(error)})", 0)
            return None
        for name in aside:
            self._losses.note(f"may come again: the damaged state was set aside as {name}", 0)
            self._remark(state, "damaged state set aside")
        self._state = state
        self._counts = CountsReader(self._folder, self._path, self._downstream.lanes, state)
        return state

    def _remark(self, state: State, text: str) -> None:
        with state.transaction():
            state.add_counts(self._path, Counts(reasons={text: 1}))

    def _disk_failed(self, error: Exception) -> None:
        self._disk_from = monotonic() + _DISK_PAUSE_S
        self._refusal = f"{type(error).__name__}: {cause_of(error)}"
        self._losses.note(f"kept in memory, because the disk refuses ({self._refusal})", 0)

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
        now = self._options.clock.time()
        deliverer, pieces = self._deliverer, []
        for event in events:
            payload, is_equal = codec.encode_exactly(event)
            pieces.append(frame(payload, EVENT, now))
            if is_equal and deliverer is not None:
                deliverer.remember(payload, event)
        data = b"".join(pieces)
        refused: dict[str, str] = {}
        if len(data) > MAX_PAYLOAD_BYTES or not self._capacity.fits(len(events), len(data)):
            can_wait = self._writer is not None
            events, data, refused = self._admission.fit(events, data, now, can_wait)
        if events:
            self._store_all(events, data)
        if refused:
            self._losses.note("refused: the buffer is full", len(refused))
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
        self._capacity.take(len(events), len(data))
        self._has_stored = True
        if writer.is_due and not self._turning:
            self._turning = True
            self._housekeeper.post(self._turn)
        deliverer = self._deliverer
        if deliverer is not None:
            deliverer.arrived(len(events))
        else:
            self._housekeeper.start()

    def _turn(self) -> None:
        self._turning = False
        if self._writer is not None and self._writer.is_due:
            try:
                self._writer.turn()
            except OSError as error:
                self._losses.note(f"wait: the disk refuses ({cause_of(error)})", 0)

    def _fall_back(self, events: Sequence[Event]) -> None:
        if self._fallback is None:
            limit = min(self._options.limit_events, _MAX_FALLBACK_EVENTS)
            options = attrs.evolve(
                self._options, storage="memory", max_events=limit, when_full="drop_newest"
            )
            self._fallback = MemoryEngine(options, self._downstream)
        self._losses.note("kept in memory, because the disk refuses", len(events))
        self._fallback.send(events)

    # Looking after everything, on the housekeeper's thread

    def _look(self) -> float:
        """Look after everything once; return how many seconds to wait before the next time."""
        if self._closed:
            return _FOLLOW_S
        if self._writer is None:
            if monotonic() >= self._disk_from:
                self._prepare()
            return _DISK_PAUSE_S
        try:
            state = self._open_state()
            if state is None:
                return _DISK_PAUSE_S
            self._look_around(state, self._writer)
            if self._deliverer is None and not self._take_over():
                return _FOLLOW_S if self._is_active else _IDLE_FOLLOW_S
            return self._look_after(self._deliverer)
        except (OSError, sqlite3.Error) as error:
            cause = f"{type(error).__name__}: {cause_of(error)}"
            self._losses.note(f"wait: the disk refuses ({cause})", 0)
            return _DISK_PAUSE_S

    def _look_around(self, state: State, writer: JournalWriter) -> None:
        """Do what every process does, whether or not it delivers."""
        if self._folder_has_changed():
            self._look_for_deleted(state, writer)
            for name in unusable_files(self._folder):
                self._losses.note(f"skipped: {name} in the folder cannot be read", 0)
        if self._has_stored:
            self._has_stored, self._active_until = False, monotonic() + _ACTIVE_S
        if self._housekeeper.every("room", 1.0 if self._is_active else _IDLE_ROOM_S):
            self._capacity.measure_if_near(journal_bytes(self._folder))
        if writer.is_due and writer.size:
            writer.turn()

    @property
    def _is_active(self) -> bool:
        """Whether this process has stored events a moment ago."""
        return monotonic() < self._active_until

    def _folder_has_changed(self) -> bool:
        try:
            return self._watch.has_changed()
        except FileNotFoundError:
            return True

    def _look_for_deleted(self, state: State, writer: JournalWriter) -> None:
        """Notice that files were deleted while they are in use, and go on with new ones."""
        if not (state.is_gone or self._lock.is_lost or writer.is_lost()):
            return
        self._losses.note("may be lost, or come twice: files of the buffer were deleted", 0)
        prepare_folder(self._folder)
        if writer.is_lost():
            writer.turn()
        if state.is_gone or self._lock.is_lost:
            self._retreat()
            self._lock.release()
        if state.is_gone:
            state.close()
            self._state = None
            fresh = self._open_state()
            if fresh is not None:
                self._remark(fresh, _DELETED)

    def _retreat(self) -> None:
        """Stop delivering. What is on its way comes again."""
        deliverer, self._deliverer = self._deliverer, None
        if deliverer is not None:
            deliverer.stop(_STOP_S)
            deliverer.close()

    def _take_over(self) -> bool:
        state = self._open_state()
        if state is None:
            return False
        if not self._lock.is_mine and not self._lock.take():
            silence = self._housekeeper.every("deliverer", 2.0) and self._lock.silence()
            if silence:
                self._losses.note(f"wait: {silence}", 0)
            return False
        self._deliverer = Deliverer(
            self._options, self._downstream, state, self._losses, self._began
        )
        return True

    def _look_after(self, deliverer: Deliverer | None) -> float:
        if deliverer is None:
            return _FOLLOW_S
        pause_s = deliverer.look(self._housekeeper.every, self._writer)
        if self._housekeeper.every("beat", _BEAT_S):
            self._lock.beat()
        has_news = self._options.when_full == "drop_oldest" and pause_s < _FOLLOW_S
        if has_news and self._housekeeper.every("measure", 0.2):
            self._capacity.measure()
            if self._capacity.left < 0:
                self._admission.give_up(-self._capacity.left)
        return pause_s

    # The end

    def flush(self, timeout_s: float) -> bool:
        """Deliver what waits, within the time.

        Where every lane that something waits for fails or is paused, it stays on disk at once. It
        does not wait for as many events as come meanwhile.
        """
        deadline = monotonic() + timeout_s
        hurried = False
        still_since, least, goal = monotonic(), 1 << 62, -1
        while True:
            self._housekeeper.drive()
            deliverer = self._deliverer
            if deliverer is not None and not hurried:
                hurried = True
                deliverer.hurry()
            done = self._fallback is None or self._fallback.flush(0.0)
            own = self._housekeeper.call(self._own_counts)
            left, goal = own.pending, own.received if goal < 0 else goal
            late = monotonic() >= deadline or self._admission.is_own_thread() or self._closed
            if late or (done and (left == 0 or own.settled >= goal)):
                self._capacity.doubt()
                return done and left == 0
            if left < least:
                least, still_since = left, monotonic()
            if done and self._is_stuck(deliverer, monotonic() - still_since):
                return False
            if deliverer is not None:
                deliverer.drive()
            time.sleep(min(_POLL_S, max(deadline - monotonic(), 0.0)))

    def _is_stuck(self, deliverer: Deliverer | None, still_s: float) -> bool:
        """Whether waiting longer would change nothing."""
        if deliverer is None:
            return still_s > _STANDSTILL_S
        return deliverer.is_stuck() or (deliverer.is_idle() and still_s > _IDLE_S)

    def _own_counts(self) -> Counts:
        if self._writer is None:
            return Counts()
        try:
            return self._balance().counts.get(self._path, Counts())
        except (OSError, sqlite3.Error):
            return Counts(received=1, pending=1)

    def close(self) -> None:
        """End the threads and let go of the files. What is not delivered stays on disk."""
        self._closed = self._admission.closed = True
        if not self._has_ended:  # again, where an exception has interrupted the last call
            self._housekeeper.call(self._end)
            self._housekeeper.stop(0.0)

    def _end(self) -> None:
        """Close everything, on the housekeeper's thread."""
        if self._has_ended:
            return
        deliverer = self._deliverer
        if deliverer is not None:
            deliverer.stop(_STOP_S)
        if self._fallback is not None:
            self._fallback.close()
        try:
            if self._writer is not None:
                self._writer.close()
            if deliverer is not None:
                deliverer.finish()
            if self._open_state():
                self._final = self._balance().counts
        except (OSError, sqlite3.Error) as error:
            self._losses.note(f"stay as they are: the disk refuses ({cause_of(error)})", 0)
        finally:
            if deliverer is not None:
                deliverer.close()
            self._lock.release()
            if self._state is not None:
                self._state.close()
            self._losses.close()
            self._has_ended = True

    def after_fork(self) -> None:
        """In a forked child, let go of what is the parent's without touching it."""
        self._lock.release()
        if self._writer is not None:
            self._writer.close()

    # Dead letters

    def letters(self, selection: Selection) -> list[DeadLetter]:
        """Return dead letters."""
        found = self._housekeeper.call(lambda: self._ask(letters_in, selection)) or []
        return found + ([] if self._fallback is None else self._fallback.letters(selection))

    def request(self, selection: Selection, wanted: Wanted) -> int:
        """Have the process that delivers replay dead letters, or give them up."""
        count = self._housekeeper.call(lambda: self._ask(request, selection, wanted)) or 0
        if self._deliverer is not None:
            self._deliverer.asked()
        self._housekeeper.wake()
        return count + (0 if self._fallback is None else self._fallback.request(selection, wanted))

    def _ask(self, question: Callable[..., Any], *arguments: Any) -> Any:
        state = self._open_state()
        return None if state is None else question(state, *arguments)

    # Looking in

    def _balance(self) -> Balance:
        if not self._open_state() or self._counts is None:
            raise OSError(f"{self._folder} cannot be opened")
        return self._counts.balance()

    def counts(self) -> Mapping[str, Counts]:
        """Read the counts of the buffer's path and of those below, of all processes that use it."""
        kept = dict(self._final or {})
        if self._final is None and self._writer is not None:
            kept = dict(self._housekeeper.call(self._balance).counts)
        for path, counts in self._fallback.counts().items() if self._fallback else ():
            kept[path] = kept.get(path, Counts()) + counts
        return kept or {self._path: Counts()}

    def status(self) -> dict[str, Any]:
        """Tell how it stands."""
        deliverer = self._deliverer
        balance = None if self._counts is None else self._counts.last
        mine = {"pid": os.getpid(), "silent_s": 0.0}
        return {
            "oldest_at": None if balance is None else balance.oldest_at,
            "bytes": 0 if balance is None else balance.pending_bytes,
            "shared": True,
            "delivered_by": mine if self._lock.is_mine else self._lock.holder(),
            "lanes": [] if deliverer is None else deliverer.status(),
        }
