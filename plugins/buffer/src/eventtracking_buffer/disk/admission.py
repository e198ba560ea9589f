"""Room in a buffer on disk: how much there is, and the work of `when_full` where there is none."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from eventtracking import Event
from eventtracking_buffer import codec
from eventtracking_buffer.delivery.clock import monotonic
from eventtracking_buffer.delivery.housekeeper import Housekeeper
from eventtracking_buffer.delivery.loss_reporter import LossReporter
from eventtracking_buffer.disk.deliverer import Deliverer
from eventtracking_buffer.disk.journal.records import EVENT, HEADER_BYTES, MAX_PAYLOAD_BYTES, frame
from eventtracking_buffer.disk.state.counts_reader import Balance

if TYPE_CHECKING:
    from eventtracking_buffer.router import BufferRouter

__all__ = ["Admission", "Capacity"]

_FRESH_S: Final = 0.02
_LEAST_RECORD_BYTES: Final = HEADER_BYTES + 40
"""No event is stored in less: its id alone has 36."""
_POLL_S: Final = 0.01
_OVERSHOOT: Final = 1.1
_BATCH_SHARE: Final = 100
"""The part of the limit that is given up at once: doing it for each event would cost each emit() a
transaction.
"""
_DROPPED_OLDEST: Final = "the buffer was full, and newer events came"


class Capacity:
    """The room that one process knows of.

    It is full where the events of this process come to a mark, which measuring moves.

    Args:
        limit: How many events may wait.
        limit_bytes: How many bytes of them may wait.
        look: Returns the events that wait, of all processes.
    """

    def __init__(self, limit: int, limit_bytes: int, look: Callable[[], Balance]) -> None:
        self.limit, self.limit_bytes = limit, limit_bytes
        self._look = look
        self._stored = self._stored_bytes = 0
        self._full_at = limit
        self._full_at_bytes = limit_bytes
        self._measured_at: float | None = None
        self._spared = self._spared_bytes = 0

    @property
    def left(self) -> int:
        """How many more events may be stored; below zero when there are too many."""
        return self._full_at - self._stored

    @property
    def left_bytes(self) -> int:
        """How many more bytes may be stored; below zero when there are too many."""
        return self._full_at_bytes - self._stored_bytes

    def fits(self, count: int, size: int) -> bool:
        """Whether so many events of so many bytes together find room, by the last measuring."""
        return (
            self._stored + count <= self._full_at
            and self._stored_bytes + size <= self._full_at_bytes
        )

    def take(self, count: int, size: int) -> None:
        """Note that events were stored."""
        self._stored += count
        self._stored_bytes += size

    def measure(self) -> None:
        """Look how much room there is.

        Events that other processes store in the meantime are seen next time.

        Those of this one may be counted twice, never not at all; the room is not fresh then.

        Raises:
            OSError, sqlite3.Error: If the medium refuses.
        """
        stored, stored_bytes = self._stored, self._stored_bytes
        waiting = self._look()
        # A backlog that was there before this limit stays, and shrinks into it.
        first = self._measured_at is None
        size = waiting.pending_bytes
        if first:
            self._spared, self._spared_bytes = waiting.pending - stored, size - stored_bytes
        self._spared = min(self._spared, waiting.pending)
        self._spared_bytes = min(self._spared_bytes, size)
        self._full_at = stored + max(self.limit, self._spared) - waiting.pending
        self._full_at_bytes = stored_bytes + max(self.limit_bytes, self._spared_bytes) - size
        self._measured_at = monotonic() if self._stored == stored else 0.0

    def measure_if_near(self, size: int) -> None:
        """Measure, if all processes together can be near the limit, by the bytes of the journal."""
        if size // _LEAST_RECORD_BYTES > self.limit // 2 or size > self.limit_bytes // 2:
            self.measure()

    def doubt(self) -> None:
        """Measure before the next refusal, however fresh the last measuring is."""
        if self._measured_at is not None:
            self._measured_at = 0.0

    @property
    def is_fresh(self) -> bool:
        """Whether it was measured just now."""
        return monotonic() - (self._measured_at or 0.0) <= _FRESH_S


class Admission:
    """Makes room where there is none, as `when_full` says.

    Args:
        deliverer: Returns the delivery, if it is this process that delivers.
    """

    def __init__(
        self,
        options: BufferRouter,
        capacity: Capacity,
        housekeeper: Housekeeper,
        losses: LossReporter,
        deliverer: Callable[[], Deliverer | None],
    ) -> None:
        self._options = options
        self._capacity = capacity
        self._housekeeper = housekeeper
        self._losses = losses
        self._deliverer = deliverer
        self.closed = False

    def fit(
        self, events: Sequence[Event], data: bytes, now: float, can_wait: bool
    ) -> tuple[Sequence[Event], bytes, dict[str, str]]:
        """Return the part that may be stored, as events and bytes, and why the rest may not.

        Args:
            can_wait: Whether the journal is open, so that room can be made.
        """
        is_small = len(data) <= MAX_PAYLOAD_BYTES
        if is_small and (not can_wait or self._make_room(len(events), len(data))):
            return events, data, {}
        fitting: list[Event] = []
        pieces: list[bytes] = []
        room, room_bytes = self._capacity.left, self._capacity.left_bytes
        for event in events:
            piece = frame(codec.encode(event), EVENT, now)
            if room > len(fitting) and min(room_bytes, MAX_PAYLOAD_BYTES) >= len(piece):
                fitting.append(event)
                pieces.append(piece)
                room_bytes -= len(piece)
        kept = {event.id for event in fitting}
        refused = {e.id: "the buffer is full" for e in events if e.id not in kept}
        return fitting, b"".join(pieces), refused

    def _make_room(self, count: int, size: int) -> bool:
        mode, call = self._options.when_full, self._housekeeper.call
        deadline = monotonic() + (self._options.block_timeout_s if mode == "block" else 0.0)
        while True:
            if not self._capacity.is_fresh and not call(self._measure):
                return True  # how much waits is not known, which does not mean too much
            if self._capacity.fits(count, size):
                return True
            if mode == "drop_oldest" and call(lambda: self._drop_oldest(count, size)):
                return True
            if monotonic() >= deadline or self.is_own_thread() or self.closed:
                return False
            time.sleep(_POLL_S)

    def _measure(self) -> bool:
        """Look how much room there is; return whether that is known."""
        try:
            self._capacity.measure()
        except (OSError, sqlite3.Error):
            return False
        return True

    def _drop_oldest(self, count: int, size: int) -> bool:
        """Give up the oldest events, if this process delivers; else the one that does follows."""
        if self._deliverer() is None:
            return self._capacity.left > -self._options.limit_events * (_OVERSHOOT - 1.0)
        while not self._capacity.fits(count, size):
            share = self._options.limit_events // _BATCH_SHARE
            if not self.give_up(max(count - self._capacity.left, share, 1)):
                return False
            self._capacity.measure()
        return True

    def give_up(self, count: int) -> int:
        """Fail the oldest events that the most backward lane has not had; return how many."""
        deliverer = self._deliverer()
        given_up = 0 if deliverer is None else deliverer.give_up_oldest(count, _DROPPED_OLDEST)
        if given_up:
            self._losses.note("dropped: the buffer is full, and newer events came", given_up)
        return given_up

    def is_own_thread(self) -> bool:
        """Whether the calling thread is one that would make room itself."""
        deliverer = self._deliverer()
        return self._housekeeper.is_current or (deliverer is not None and deliverer.is_own_thread())
