"""A lane: the work for one child of the router, and when to do it.

Each child has its own lane, so that none waits for another. A lane is driven by one thread at a
time (`busy` says by which), usually its own. While its destination fails, it is probed with a few
events after a growing delay. An event on its last attempt travels alone, so that one bad event does
not take others with it.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, Final

import attrs

from eventtracking.errors import describe_error, locate
from eventtracking.protocols import Downstream
from eventtracking_buffer.delivery.attempt import Attempt, Report, Store, deliver
from eventtracking_buffer.delivery.backoff import backoff_s
from eventtracking_buffer.delivery.clock import Clock
from eventtracking_buffer.delivery.queue import RetryQueue
from eventtracking_buffer.delivery.queued_event import QueuedEvent

__all__ = ["Lane", "Pace"]

_log = logging.getLogger("eventtracking.buffer")
_SAY_AGAIN_S: Final = 60.0
"""The log hears at most so often that a lane fails."""
_PROBE_EVENTS: Final = 10
_RECOVERY_FACTOR: Final = 4
_UNREADABLE_PAUSE_S: Final = 0.05
_TICK_S: Final = 1.0
_NEVER: Final = 1 << 62


@attrs.frozen(kw_only=True)
class Pace:
    """How a lane batches and retries."""

    max_batch_events: int
    max_batch_bytes: int
    max_batch_age_s: float
    max_attempts: int
    max_age_s: float | None
    retry_base_s: float
    retry_max_s: float


class Lane:
    """The work for one child. All methods but `wake` and `again` are for the thread with `busy`.

    Args:
        path: The child's path.
        downstream: The routes below the router.
        store: Where the events are.
    """

    def __init__(
        self, path: str, downstream: Downstream, store: Store, pace: Pace, clock: Clock
    ) -> None:
        self.path = path
        self.leaves: tuple[str, ...] = tuple(downstream.lanes[path])
        self.busy = threading.Lock()
        """Held by the thread that drives the lane; only ever asked for without waiting."""
        self.wake_at = 1
        """The number of waiting events that is worth a wake-up; a sender compares."""
        self.hurry = False
        """Whether to skip delays until the next failure. A pause that was asked for stays."""
        self.failures = 0
        """Failed deliveries in a row."""
        self.last_error = ""
        self.resume_at = 0.0
        self.paused_until = 0.0
        """Until when the destination asked for a pause."""
        self.in_flight: Sequence[QueuedEvent] = ()
        self._downstream = downstream
        self._store = store
        self._pace = pace
        self._clock = clock
        self._limit = pace.max_batch_events
        self._said_at = -_SAY_AGAIN_S
        self._ticks = downstream.ticks(path)
        self._ticked_at = clock.monotonic()
        self._linger_until: float | None = None
        self._took_nothing = False
        """Whether something waits that cannot be read just now, such as a half-written record."""
        self._retries = RetryQueue()
        self._signal = threading.Lock()  # a binary semaphore: locked means that nobody has called
        self._signal.acquire()

    # Waking, from any thread and any signal handler

    def wake(self) -> None:
        """Make `wait` return."""
        with suppress(RuntimeError):  # it was woken already
            self._signal.release()

    def wait(self, timeout_s: float) -> None:
        """Wait for `wake`, at most so long."""
        self._signal.acquire(timeout=max(timeout_s, 0.0))

    def again(self, items: Iterable[QueuedEvent]) -> None:
        """Hand over events to be tried again, from another thread. The next step takes them up."""
        self._retries.hand_over(items)

    # Looking in

    @property
    def retrying(self) -> int:
        """Events that wait for another attempt."""
        return len(self._retries)

    @property
    def has_work(self) -> bool:
        """Whether anything waits for the lane."""
        return bool(len(self._retries) or self.in_flight or self._store.waiting(self.path))

    @property
    def is_due(self) -> bool:
        """Whether there is something to do now."""
        now = self._clock.monotonic()
        if now < max(self.paused_until, 0.0 if self.hurry else self.resume_at):
            return False
        due = self._retries.next_due
        return (due is not None and due <= now) or self._store.waiting(self.path) >= self.wake_at

    @property
    def is_paused(self) -> bool:
        """Whether the destination asked for a pause that is not over."""
        return self.paused_until > self._clock.monotonic()

    @property
    def resumes_in_s(self) -> float:
        """How long nothing is tried, because of failures or a pause."""
        return max(max(self.resume_at, self.paused_until) - self._clock.monotonic(), 0.0)

    def give_up(self) -> list[QueuedEvent]:
        """Let go of everything that waits for another attempt."""
        return self._retries.clear()

    # Picking

    def step(self) -> float:
        """Deliver one batch, if one is due; return how many seconds to wait until the next."""
        now = self._clock.monotonic()
        pause_s = self._tick(now)
        self._retries.accept(now)
        resume_at = max(self.paused_until, 0.0 if self.hurry else self.resume_at)
        if now < resume_at:
            self.wake_at = _NEVER
            return min(resume_at - now, pause_s)
        batch = self._pick_retries(now) or self._pick_fresh(now)
        if batch:
            self._deliver(batch)
            return 0.0
        return min(
            max(self._pause(now), _UNREADABLE_PAUSE_S if self._took_nothing else 0.0), pause_s
        )

    def _tick(self, now: float) -> float:
        """Let the backends do what is due by time, once a second; return when to come again."""
        if not self._ticks:
            return 3600.0
        if now - self._ticked_at >= _TICK_S:
            self._ticked_at = now
            self._downstream.tick(self.path)
        return _TICK_S

    def _pause(self, now: float) -> float:
        """Return how long nothing is due. A sender looks at `wake_at` meanwhile."""
        dues = [due for due in (self._retries.next_due, self._linger_until) if due is not None]
        self.wake_at = 1 if self._linger_until is None else self._pace.max_batch_events
        if self._store.waiting(self.path) >= self.wake_at:  # sent before `wake_at` was set
            return 0.0
        return max(min(dues) - now, 0.0) if dues else 3600.0

    def _pick_retries(self, now: float) -> list[QueuedEvent]:
        until = _NEVER if self.hurry else now
        picked = self._retries.pick(until, self._limit, self._pace.max_batch_bytes)
        late = [item for item in picked if item.paused and self._is_too_old(item)]
        if late:  # their age went on during the pause
            attempt = Attempt(self.path, self.leaves)
            for item in late:
                attempt.bury(item, item.leaves or self.leaves)
            self._store.report(attempt.report)
        return [item for item in picked if item not in late] if late else picked

    def _pick_fresh(self, now: float) -> list[QueuedEvent]:
        waiting = self._store.waiting(self.path)
        self._took_nothing = False
        if not waiting:
            self._linger_until = None
            return []
        if self._linger_until is None:
            self._linger_until = now + self._pace.max_batch_age_s
        if waiting < self._pace.max_batch_events and now < self._linger_until and not self.hurry:
            return []
        items = self._store.take(self.path, self._limit, self._pace.max_batch_bytes)
        self._took_nothing = not items
        batch = {item.event.id: item for item in reversed(items)}
        if len(batch) < len(items):  # a batch has no id twice
            self._retries.add([i for i in items if batch[i.event.id] is not i], now)
        return [item for item in items if batch[item.event.id] is item]

    # Delivering

    def _deliver(self, batch: Sequence[QueuedEvent]) -> None:
        last = [item for item in batch if item.attempts + 1 >= self._pace.max_attempts > 1]
        together = [item for item in batch if item not in last] if last else batch
        parts = deque(([together] if together else []) + [[item] for item in last])
        try:
            self._try_parts(parts)
        finally:
            for part in parts:  # something that is no Exception went through the one before
                self._retries.add(part, self._clock.monotonic())

    def _try_parts(self, parts: deque[Sequence[QueuedEvent]]) -> None:
        while parts:
            self._try_part(parts.popleft())

    def _try_part(self, items: Sequence[QueuedEvent]) -> None:
        self.wake_at = _NEVER
        self.in_flight = items
        attempt = Attempt(self.path, self.leaves)
        try:
            deliver(self._downstream, items, attempt)
        finally:
            self._judge(items, attempt)
            self.in_flight = ()
            self._store.report(attempt.report)

    def _judge(self, items: Sequence[QueuedEvent], attempt: Attempt) -> None:
        """Tell apart what is done, what is dead and what is to be tried again."""
        report, lost, held = attempt.report, 0, 0
        now = self._clock.monotonic()
        for item in items:
            left = attempt.sort(item)
            pause_s = attempt.pause_of(item, left) if left else None
            item.paused = pause_s is not None
            if pause_s is not None:
                held += 1
                attempt.reason(item, left)
                report.again.append(item)
                self._retries.add([item], now + pause_s)
            elif left:
                lost += 1
                item.note_failure(attempt.reason(item, left))
                if item.letter is not None or self._is_out(item):
                    attempt.bury(item, left)
                else:
                    report.again.append(item)
                    self._retries.add([item], now + self._delay_s(item.attempts))
        self.paused_until = max(self.paused_until, now + (attempt.pause_s or 0.0))
        self._note_health(len(items), lost, held, report)
        if attempt.error is not None:
            self._say(lost + held, attempt.error)

    def _is_out(self, item: QueuedEvent) -> bool:
        return item.attempts >= self._pace.max_attempts or self._is_too_old(item)

    def _is_too_old(self, item: QueuedEvent) -> bool:
        age_s = self._pace.max_age_s
        return age_s is not None and self._clock.time() - item.stored_at > age_s

    def _note_health(self, count: int, lost: int, held: int, report: Report) -> None:
        if not lost:
            self.failures, self.resume_at = 0, 0.0
            self.last_error = report.last_reason if held else ""
            self._limit = min(self._limit * _RECOVERY_FACTOR, self._pace.max_batch_events)
            return
        self.hurry = False
        self.failures = 1 if lost < count else self.failures + 1
        self.last_error = report.last_reason
        self._limit = min(_PROBE_EVENTS, self._pace.max_batch_events)
        self.resume_at = self._clock.monotonic() + self._delay_s(self.failures)

    def _delay_s(self, failures: int) -> float:
        return backoff_s(failures, self._pace.retry_base_s, self._pace.retry_max_s)

    def _say(self, count: int, error: Exception) -> None:
        """Tell the log that the destination fails, at a bounded rate; the counts tell the rest."""
        now = self._clock.monotonic()
        if now - self._said_at < _SAY_AGAIN_S:
            return
        self._said_at = now
        place = locate(error)
        _log.warning(
            "route %r: delivery of %d event%s failed: %s%s; will retry until delivered or"
            " dead-lettered",
            self.path,
            count,
            "" if count == 1 else "s",
            describe_error(error),
            f" (at {place})" if place else "",
        )

    def status(self) -> dict[str, Any]:
        """Tell how it stands, in plain values."""
        return {
            "route": self.path,
            "waiting": self._store.waiting(self.path) + self.retrying + len(self.in_flight),
            "failures": self.failures,
            "last_error": self.last_error,
            "resumes_in_s": self.resumes_in_s,
        }
