"""A lane: the work for one child of the router, and when to do it.

Each child has its own lane, so that none waits for another. A lane is driven by one thread at a
time (`busy` says by which), usually its own. While its destination fails, it is probed with a few
events after a growing delay. An event on its last attempt travels alone, so that one bad event does
not take others with it.

A child that passes through has several leaves. One that fails or is paused rests alone::

    lane    step: events to a and b    b asks for 60 s    step: to a; b's wait    60 s later: to b
"""

from __future__ import annotations

import logging
import threading
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, Final

import attrs

from eventtracking.errors import describe_error, locate
from eventtracking.protocols import Downstream
from eventtracking_buffer.delivery.attempt import Attempt, Store, deliver
from eventtracking_buffer.delivery.backoff import Rest, backoff_s
from eventtracking_buffer.delivery.clock import Clock
from eventtracking_buffer.delivery.queue import QueuedEvent, RetryQueue

__all__ = ["Lane", "Pace"]

_log = logging.getLogger("eventtracking.buffer")
_SAY_AGAIN_S: Final = 60.0
"""The log hears at most so often that a lane fails."""
_PROBE_EVENTS: Final = 10
_RECOVERY_FACTOR: Final = 4
_STUCK_FAILURES: Final = 3
_UNREADABLE_PAUSE_S: Final = 0.05
_TICK_S: Final = 1.0
_NEVER: Final = 1 << 62
_MAX_HELD_EVENTS: Final = 50_000
_MAX_HELD_BYTES: Final = 64_000_000
"""Of events that wait in memory for a leaf that rests. Beyond that its siblings wait, too."""


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
        self.last_error = ""
        self.in_flight: Sequence[QueuedEvent] = ()
        self._downstream = downstream
        self._store = store
        self._pace = pace
        self._clock = clock
        self._rests = {leaf: Rest() for leaf in self.leaves}
        self._limit = pace.max_batch_events
        self._said_at = -_SAY_AGAIN_S
        self._ticks = downstream.ticks(path)
        self._ticked_at = clock.monotonic()
        self._linger_until: float | None = None
        self._took_nothing = False
        """Whether something waits that cannot be read just now, such as a half-written record."""
        self._retries = RetryQueue()
        self._held = RetryQueue()
        """Events that wait for the end of a pause, which nothing shortens."""
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
        return len(self._retries) + len(self._held)

    @property
    def has_work(self) -> bool:
        """Whether anything waits for the lane, or is being read or written down by its thread."""
        # In this order: the thread turns waiting events into retried ones while it is busy.
        return bool(self._store.waiting(self.path) or self.busy.locked() or self.retrying)

    @property
    def is_due(self) -> bool:
        """Whether there is something to do now."""
        now = self._clock.monotonic()
        if now < self._resumes_at():
            return False
        due = self._next_due
        return (due is not None and due <= now) or self._store.waiting(self.path) >= self.wake_at

    @property
    def is_paused(self) -> bool:
        """Whether all that waits does so for a pause that a destination asked for."""
        now, fresh = self._clock.monotonic(), self._fresh
        if self.busy.locked():
            return False
        if min((r.paused_until for r in self._rests.values()), default=0.0) > now:
            return True
        due = self._held.next_due
        return due is not None and due > now and not (len(self._retries) or fresh)

    @property
    def is_stuck(self) -> bool:
        """Whether all that waits does so for a pause, or a leaf that keeps failing."""
        if self.is_paused:
            return True
        now, fresh = self._clock.monotonic(), self._fresh
        if self.busy.locked() or self.hurry or self.failures < _STUCK_FAILURES:
            return False
        due, rests_alone = self._next_due, len(self._rests) > 1 and not fresh
        return self._resumes_at() > now or (rests_alone and due is not None and due > now)

    @property
    def failures(self) -> int:
        """Failed deliveries in a row, at the leaf that fails most."""
        return max((rest.failures for rest in self._rests.values()), default=0)

    @property
    def resumes_in_s(self) -> float:
        """How long nothing is tried at a leaf, because of failures or a pause."""
        now = self._clock.monotonic()
        times = [max(rest.resume_at, rest.paused_until) - now for rest in self._rests.values()]
        return min((left_s for left_s in times if left_s > 0.0), default=0.0)

    @property
    def _next_due(self) -> float | None:
        dues = [due for due in (self._retries.next_due, self._held.next_due) if due is not None]
        return min(dues, default=None)

    def _rests_until(self, leaf: str) -> float:
        rest = self._rests[leaf]
        return max(rest.paused_until, 0.0 if self.hurry else rest.resume_at)

    def _resumes_at(self) -> float:
        """When the first leaf may be tried."""
        return min(map(self._rests_until, self.leaves), default=0.0)

    def give_up(self) -> list[QueuedEvent]:
        """Let go of everything that waits for another attempt."""
        return self._retries.clear() + self._held.clear()

    # Picking

    def step(self) -> float:
        """Deliver one batch, if one is due; return how many seconds to wait until the next."""
        now = self._clock.monotonic()
        pause_s = self._tick(now)
        if self._retries.handed_over:
            self._retries.accept(now)
        resume_at = self._resumes_at()
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
        dues = [due for due in (self._next_due, self._linger_until) if due is not None]
        self.wake_at = 1 if self._linger_until is None else self._pace.max_batch_events
        if self._holds_too_much:
            self.wake_at = _NEVER
            return max((self._next_due or now) - now, _UNREADABLE_PAUSE_S)
        if self._store.waiting(self.path) >= self.wake_at:  # sent before `wake_at` was set
            return 0.0
        return max(min(dues) - now, 0.0) if dues else 3600.0

    def _pick_retries(self, now: float) -> list[QueuedEvent]:
        if not (self._held.heap or self._retries.heap):
            return []
        until = _NEVER if self.hurry else now
        picked = self._held.pick(now, self._limit, self._pace.max_batch_bytes)
        picked = picked or self._retries.pick(until, self._limit, self._pace.max_batch_bytes)
        late = [item for item in picked if item.paused and self._is_too_old(item)]
        if late:  # their age went on during the pause
            attempt = Attempt(self.path, self.leaves)
            for item in late:
                attempt.bury(item, item.leaves or self.leaves)
            self._store.report(attempt.report)
        return [item for item in picked if item not in late] if late else picked

    def _pick_fresh(self, now: float) -> list[QueuedEvent]:
        waiting = self._fresh
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
        now = self._clock.monotonic()
        resting = {leaf: self._rests_until(leaf) - now for leaf in self.leaves}
        resting = {leaf: rest_s for leaf, rest_s in resting.items() if rest_s > 0.0}
        attempt = Attempt(self.path, self.leaves, resting)
        try:
            deliver(self._downstream, items, attempt)
        finally:
            self._judge(items, attempt)
            self.in_flight = ()
            self._store.report(attempt.report)

    def _judge(self, items: Sequence[QueuedEvent], attempt: Attempt) -> None:
        """Tell apart what is done, what is dead and what is to be tried again."""
        wanted = items[0].leaves or self.leaves  # the same for all: see `RetryQueue.pick`
        left: list[tuple[QueuedEvent, list[str]]] = []
        lost, spared = Counter[str](), Counter[str]()
        for item in items:
            leaves = attempt.sort(item)
            if leaves:
                tried = [leaf for leaf in leaves if attempt.was_attempt(item, leaf)]
                lost.update(tried)
                spared.update(leaf for leaf in leaves if leaf not in tried)
                left.append((item, tried))
                item.paused = not tried
                reason = attempt.reason(item, tried or leaves)
                if tried:
                    item.note_failure(reason)
        for leaf in wanted:
            self._note_health(leaf, len(items) - spared[leaf], lost[leaf], attempt)
        self._note_failures(bool(lost), bool(left), attempt)
        for item, tried in left:
            self._put_off(item, tried, attempt)
        if attempt.error is not None and (lost or attempt.pauses):
            self._say(len(left), attempt.error)

    def _note_health(self, leaf: str, tried: int, lost: int, attempt: Attempt) -> None:
        """Let a leaf rest that has failed, or whose destination asked for a pause."""
        rest, now = self._rests[leaf], self._clock.monotonic()
        rest.paused_until = max(rest.paused_until, now + attempt.pauses.get(leaf, 0.0))
        if lost:
            rest.failures = 1 if lost < tried else rest.failures + 1
            rest.resume_at = now + self._delay_s(rest.failures)
        elif leaf not in attempt.resting:
            rest.failures, rest.resume_at = 0, 0.0

    def _note_failures(self, lost: bool, left: bool, attempt: Attempt) -> None:
        if lost:
            self.hurry = False
            self._limit = min(_PROBE_EVENTS, self._pace.max_batch_events)
        else:
            self._limit = min(self._limit * _RECOVERY_FACTOR, self._pace.max_batch_events)
        if lost or (left and attempt.pauses):
            self.last_error = attempt.report.last_reason
        elif not attempt.resting:
            self.last_error = ""

    def _put_off(self, item: QueuedEvent, tried: Sequence[str], attempt: Attempt) -> None:
        """Have an event tried again where it waits, or make dead letters of it where it is out."""
        if tried and (item.letter is not None or self._is_out(item)):
            spared = tuple(leaf for leaf in item.leaves or () if leaf not in tried)
            attempt.bury(item, tried)
            if not spared:
                return
            item.leaves, item.attempts, tried = spared, 0, ()
        attempt.report.again.append(item)
        now = self._clock.monotonic()
        due = min(map(self._rests_until, item.leaves or self.leaves))
        if tried:
            self._retries.add([item], max(due, now + self._delay_s(item.attempts)))
        elif all(self._rests[leaf].paused_until > now for leaf in item.leaves or self.leaves):
            self._held.add([item], due)
        else:
            self._retries.add([item], due)

    @property
    def _fresh(self) -> int:
        """How many events wait for their first delivery, as far as they may be read now."""
        return 0 if self._holds_too_much else self._store.waiting(self.path)

    @property
    def _holds_too_much(self) -> bool:
        """Whether so much waits for a leaf that rests that nothing more is read."""
        if len(self._rests) == 1:
            return False
        size = self._retries.bytes + self._held.bytes
        return self.retrying >= _MAX_HELD_EVENTS or size >= _MAX_HELD_BYTES

    def _is_out(self, item: QueuedEvent) -> bool:
        return item.attempts >= self._pace.max_attempts or self._is_too_old(item)

    def _is_too_old(self, item: QueuedEvent) -> bool:
        age_s = self._pace.max_age_s
        return age_s is not None and self._clock.time() - item.stored_at > age_s

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
