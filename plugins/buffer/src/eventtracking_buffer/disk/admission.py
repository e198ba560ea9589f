"""Admission of events to a buffer on disk that is full, or nearly: what `when_full` says."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from eventtracking import Event
from eventtracking_buffer import codec
from eventtracking_buffer.delivery.clock import monotonic
from eventtracking_buffer.delivery.housekeeper import Housekeeper
from eventtracking_buffer.delivery.loss_reporter import LossReporter
from eventtracking_buffer.disk.capacity import Capacity
from eventtracking_buffer.disk.deliverer import Deliverer
from eventtracking_buffer.disk.journal.records import EVENT, MAX_PAYLOAD_BYTES, frame
from eventtracking_buffer.disk.journal.writer import JournalWriter
from eventtracking_buffer.disk.state.connection import State

if TYPE_CHECKING:
    from eventtracking_buffer.router import BufferRouter

__all__ = ["Admission"]

_POLL_S: Final = 0.01
_OVERSHOOT: Final = 1.1
_BATCH_SHARE: Final = 100
"""The part of the limit that is given up at once: doing it for each event would cost each emit() a
transaction.
"""
_DROPPED_OLDEST: Final = "the buffer was full, and newer events came"


class Admission:
    """The part of the engine that makes room."""

    _options: BufferRouter
    _capacity: Capacity
    _writer: JournalWriter | None
    _housekeeper: Housekeeper
    _deliverer: Deliverer | None
    _losses: LossReporter
    _closed: bool

    def _open_state(self) -> State | None:
        raise NotImplementedError

    def _fit(
        self, events: Sequence[Event], data: bytes, now: float
    ) -> tuple[Sequence[Event], bytes, dict[str, str]]:
        """Do what `when_full` says; return what may be stored, and why the rest may not."""
        is_small = len(data) <= MAX_PAYLOAD_BYTES
        if is_small and (self._writer is None or self._make_room(len(events), len(data))):
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
        mode = self._options.when_full
        deadline = monotonic() + (self._options.block_timeout_s if mode == "block" else 0.0)
        while True:
            if not self._capacity.is_fresh and not self._housekeeper.call(self._measure):
                return True  # how much waits is not known, which does not mean too much
            if self._capacity.fits(count, size):
                return True
            if mode == "drop_oldest" and self._housekeeper.call(
                lambda: self._drop_oldest(count, size)
            ):
                return True
            if monotonic() >= deadline or self._is_own_thread() or self._closed:
                return False
            time.sleep(_POLL_S)

    def _measure(self) -> bool:
        """Look how much room there is; return whether that is known."""
        try:
            if self._open_state():
                self._capacity.measure()
                return True
        except (OSError, sqlite3.Error):
            pass
        return False

    def _drop_oldest(self, count: int, size: int) -> bool:
        """Give up the oldest events, if this process delivers; else the one that does follows."""
        if self._deliverer is None:
            return self._capacity.left > -self._options.limit_events * (_OVERSHOOT - 1.0)
        while not self._capacity.fits(count, size):
            share = self._options.limit_events // _BATCH_SHARE
            if not self._give_up(max(count - self._capacity.left, share, 1)):
                return False
            self._capacity.measure()
        return True

    def _give_up(self, count: int) -> int:
        """Fail the oldest events that the most backward lane has not had; return how many."""
        if self._deliverer is None:
            return 0
        given_up = self._deliverer.give_up_oldest(count, _DROPPED_OLDEST)
        if given_up:
            self._losses.note("dropped: the buffer is full, and newer events came", given_up)
        return given_up

    def _is_own_thread(self) -> bool:
        deliverer = self._deliverer
        return self._housekeeper.is_current or (deliverer is not None and deliverer.is_own_thread())
