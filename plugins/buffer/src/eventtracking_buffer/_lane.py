"""A lane: what waits for one leaf, and when to try it.

Each leaf has its own, so that none waits for another.

A lane is driven by one thread at a time (`busy` says by which), usually its own. While its leaf
fails, it is probed with a few events after a growing delay, and the rest waits. An event on its
last attempt travels alone, so that one bad event does not take others with it.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any, Final, Protocol

import attrs

from eventtracking import Outcome, Rejected
from eventtracking.errors import describe_error, locate
from eventtracking.protocols import Downstream, Failures
from eventtracking_buffer._backoff import backoff_s
from eventtracking_buffer._clock import monotonic
from eventtracking_buffer._item import Item

__all__ = ["Lane", "Pace", "Report", "Store"]

_log = logging.getLogger("eventtracking.buffer")
_SAY_AGAIN_S: Final = 60.0
"""How often the log is told at most that a leaf fails."""
_PROBE_EVENTS: Final = 10
_RECOVERY_FACTOR: Final = 4
_DUPLICATE_DELAY_S: Final = 0.05
_UNREADABLE_PAUSE_S: Final = 0.05
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


@attrs.define(eq=False)
class Report:
    """What became of one batch."""

    leaf: str
    done: list[Item] = attrs.field(factory=list)
    """The leaf has delivered, filtered or failed them."""
    again: list[Item] = attrs.field(factory=list)
    """To be tried again."""
    dead: list[Item] = attrs.field(factory=list)
    """Dead letters now, or still."""
    finished: dict[str, Outcome] = attrs.field(factory=dict)
    """The events that are final at every leaf."""


class Store(Protocol):
    """Where the events of a buffer are."""

    def waiting(self, leaf: str) -> int:
        """Return how many events wait for their first delivery to a leaf, as far as is known."""

    def take(self, leaf: str, max_events: int, max_bytes: int) -> list[Item]:
        """Take the next events for a leaf that it has never had, at least one if there is one."""

    def claim(self, item: Item) -> bool:
        """Say whether the item may be delivered now: no other event with its id is unfinished."""

    def report(self, report: Report) -> None:
        """Write down what became of a batch."""


class Lane:
    """The work for one leaf. All methods but `wake` are for the thread that holds `busy`."""

    def __init__(self, leaf: str, downstream: Downstream, store: Store, pace: Pace) -> None:
        self.leaf = leaf
        self.busy = threading.Lock()
        """Held by the thread that drives the lane; only ever asked for without waiting."""
        self.wake_at = 1
        """How many waiting events are worth a wake-up; a sender compares."""
        self.arrived = 0
        """About how many events have come since the lane looked; kept by senders who cannot ask the
        store each time.
        """
        self.hurry = False
        """Whether to go on without waiting for more events, or for the end of a delay; until the
        next failure.
        """
        self.failures = 0
        """How many deliveries failed in a row."""
        self.last_error = ""
        self.resume_at = 0.0
        self.in_flight: Sequence[Item] = ()
        self._downstream = downstream
        self._store = store
        self._pace = pace
        self._only_leaf = len(downstream.leaves) == 1
        self._limit = pace.max_batch_events
        self._said_at = -_SAY_AGAIN_S
        self._linger_until: float | None = None
        self._took_nothing = False
        """Whether something waits that cannot be read just now: half written, or in a file that the
        system refuses.
        """
        self._retries: list[tuple[float, int, Item]] = []
        self._handed_over: deque[Item] = deque()
        self._order = itertools.count()
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

    # Picking

    @property
    def retrying(self) -> int:
        """How many events wait for another attempt."""
        return len(self._retries)

    @property
    def has_work(self) -> bool:
        """Whether anything waits for the leaf."""
        return bool(
            self._retries or self._handed_over or self.in_flight or self._store.waiting(self.leaf)
        )

    @property
    def is_overdue(self) -> bool:
        """Whether a retry is due, or something was handed over."""
        return bool(self._handed_over or (self._retries and self._retries[0][0] <= monotonic()))

    def retry(self, items: Iterable[Item], delay_s: float = 0.0) -> None:
        """Take up events that wait for another attempt."""
        due = monotonic() + delay_s
        for item in items:
            heapq.heappush(self._retries, (due, next(self._order), item))

    def again(self, items: Iterable[Item]) -> None:
        """Hand over events to be tried again, from another thread. The next step takes them up."""
        self._handed_over.extend(items)

    def status(self) -> dict[str, Any]:
        """Tell how it stands, in plain values."""
        return {
            "route": self.leaf,
            "waiting": self._store.waiting(self.leaf) + self.retrying + len(self.in_flight),
            "failures": self.failures,
            "last_error": self.last_error,
            "resumes_in_s": max(self.resume_at - monotonic(), 0.0) if self.failures else 0.0,
        }

    def give_up(self) -> list[Item]:
        """Let go of everything that waits for another attempt."""
        items = [item for _, _, item in self._retries] + list(self._handed_over)
        self._retries = []
        self._handed_over.clear()
        return items

    def step(self) -> float:
        """Deliver one batch, if one is due.

        Return how many seconds to wait before the next step.
        """
        now = monotonic()
        while self._handed_over:
            self.retry([self._handed_over.popleft()])
        if now < self.resume_at and not self.hurry:
            self.wake_at = _NEVER
            return self.resume_at - now
        batch = self._pick_retries(now) or self._pick_fresh(now)
        if batch:
            self._deliver(batch)
            return 0.0
        return max(self._pause(now), _UNREADABLE_PAUSE_S if self._took_nothing else 0.0)

    def _pause(self, now: float) -> float:
        """How long nothing is due. Whoever sends in the meantime looks at `wake_at`."""
        dues = [self._retries[0][0]] if self._retries else []
        if self._linger_until is not None:
            dues.append(self._linger_until)
        self.wake_at = 1 if self._linger_until is None else self._pace.max_batch_events
        waiting = self._store.waiting(self.leaf)
        self.arrived = waiting
        if waiting >= self.wake_at:  # sent before `wake_at` was set
            return 0.0
        return max(min(dues) - now, 0.0) if dues else 3600.0

    def _pick_retries(self, now: float) -> list[Item]:
        picked: list[Item] = []
        ids: set[str] = set()
        total = 0
        while self._retries and len(picked) < self._limit and total < self._pace.max_batch_bytes:
            due, _, item = self._retries[0]
            if due > now and not self.hurry:
                break
            if picked and (item.had is not picked[0].had or item.event.id in ids):
                break
            heapq.heappop(self._retries)
            if not self._store.claim(item):
                self.retry([item], _DUPLICATE_DELAY_S)
                break
            picked.append(item)
            ids.add(item.event.id)
            total += item.size
        return picked

    def _pick_fresh(self, now: float) -> list[Item]:
        waiting = self._store.waiting(self.leaf)
        self._took_nothing = False
        if not waiting:
            self._linger_until = None
            return []
        if self._linger_until is None:
            self._linger_until = now + self._pace.max_batch_age_s
        if waiting < self._pace.max_batch_events and now < self._linger_until and not self.hurry:
            return []
        items = self._store.take(self.leaf, self._limit, self._pace.max_batch_bytes)
        self._took_nothing = not items
        return list(self._without_duplicates(items))

    def _without_duplicates(self, items: Sequence[Item]) -> Iterator[Item]:
        """Put off what has the id of an unfinished event: the books below know events by
        their id.
        """
        ids: set[str] = set()
        for item in items:
            if item.event.id in ids or not self._store.claim(item):
                self.retry([item], _DUPLICATE_DELAY_S)
            else:
                ids.add(item.event.id)
                yield item

    # Delivering

    def _deliver(self, batch: Sequence[Item]) -> None:
        last = [item for item in batch if item.attempts + 1 >= self._pace.max_attempts > 1]
        together = [item for item in batch if item not in last] if last else batch
        parts = deque(([together] if together else []) + [[item] for item in last])
        try:
            while parts:
                self._try_part(parts.popleft())
        finally:
            for part in parts:  # something that is no Exception went through the one before
                self.retry(part)

    def _try_part(self, items: Sequence[Item]) -> None:
        self.wake_at = _NEVER
        self.in_flight = items
        report = Report(self.leaf)
        failed: dict[str, Exception] = {}
        try:
            failures = self._call(items)
            failed = failures.get(self.leaf, {})
            report.finished.update(failures.finished)
        except BaseException as error:
            failed = dict.fromkeys(
                (item.event.id for item in items), DeliveryInterruptedError(describe_error(error))
            )
            if not isinstance(error, Exception):
                raise
        finally:
            self._sort(items, failed, report)
            self.in_flight = ()
            self._store.report(report)

    def _call(self, items: Sequence[Item]) -> Failures:
        events = [item.event for item in items]
        had = items[0].had
        if not self._only_leaf:
            return self._downstream.deliver(events, only=(self.leaf,), first=not had)
        return (
            self._downstream.deliver(events, only=(self.leaf,))
            if had
            else self._downstream.deliver(events)
        )

    def _sort(self, items: Sequence[Item], failed: dict[str, Exception], report: Report) -> None:
        """Tell apart what is done, what is dead and what is to be tried again."""
        interrupted = [
            item.event.id
            for item in items
            if isinstance(failed.get(item.event.id), DeliveryInterruptedError)
        ]
        known = self._downstream.progress(interrupted) if interrupted else {}
        lost = 0
        for item in items:
            error = failed.get(item.event.id)
            item.had = (
                item.had
                or error is None
                or not interrupted
                or self.leaf in known.get(item.event.id, {})
            )
            if error is None:
                report.done.append(item)
                continue
            lost += not isinstance(error, Rejected)
            self._judge(item, error, report)
        self._note_health(len(items) - lost, lost, report)
        self._bury(report)
        if lost:
            self._say(
                lost, next(error for error in failed.values() if not isinstance(error, Rejected))
            )

    def _judge(self, item: Item, error: Exception, report: Report) -> None:
        if isinstance(error, Rejected):
            item.note_failure(error.reasons.get(item.event.id, "rejected"))
            report.dead.append(item)
            return
        item.note_failure(describe_error(error))
        out = (
            item.dead is not None
            or item.attempts >= self._pace.max_attempts
            or self._is_too_old(item)
        )
        (report.dead if out else report.again).append(item)

    def _is_too_old(self, item: Item) -> bool:
        return (
            self._pace.max_age_s is not None and time.time() - item.stored_at > self._pace.max_age_s
        )

    def _note_health(self, well: int, lost: int, report: Report) -> None:
        if not lost:
            self.failures, self.last_error, self.resume_at = 0, "", 0.0
            self._limit = min(self._limit * _RECOVERY_FACTOR, self._pace.max_batch_events)
        else:
            self.hurry = False
            self.failures = 1 if well else self.failures + 1
            self.last_error = (report.again or report.dead)[-1].reason
            self._limit = min(_PROBE_EVENTS, self._pace.max_batch_events)
            self.resume_at = monotonic() + self._delay_s(self.failures)
        for item in report.again:
            self.retry([item], self._delay_s(item.attempts))

    def _say(self, count: int, error: Exception) -> None:
        """Tell the log that the leaf fails, at a bounded rate.

        The counts, and `eventtracking buffer status`, tell the rest.
        """
        now = monotonic()
        if now - self._said_at < _SAY_AGAIN_S:
            return
        self._said_at = now
        place = locate(error)
        where = f" (at {place})" if place else ""
        _log.warning(
            "route %r did not take %d event%s: %s%s; tried again until it does, or they become dead"
            " letters",
            self.leaf,
            count,
            "" if count == 1 else "s",
            describe_error(error),
            where,
        )

    def _delay_s(self, failures: int) -> float:
        return backoff_s(failures, self._pace.retry_base_s, self._pace.retry_max_s)

    def _bury(self, report: Report) -> None:
        """Give the dead letters their final outcome, with the reason."""
        by_reason: dict[str, list[str]] = {}
        for item in report.dead:
            by_reason.setdefault(item.reason, []).append(item.event.id)
        for reason, ids in by_reason.items():
            report.finished.update(
                self._downstream.settle(self.leaf, ids, Outcome.DEAD_LETTERED, reason)
            )


class DeliveryInterruptedError(Exception):
    """Something that is not an Exception went through a delivery, or a downstream broke its
    contract.
    """
