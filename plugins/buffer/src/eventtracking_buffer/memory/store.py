"""The events of one buffer in memory, and its dead letters.

`put` is one step, an append to a queue that all lanes share, so that a signal handler can neither
interrupt it half-way nor find a lock taken. Everything else happens under a lock, on the threads of
the lanes or of the housekeeper, where no signal handler raises::

    emit()      incoming.append(event)
    a lane      incoming -> held (counted as received), and into the queue of each lane
    a lane      report: standing -> counts; an event that is final everywhere leaves `held`
"""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec

from eventtracking import Counts, Event, Outcome
from eventtracking.counts import ENTER, Ledger, change_of, reason_text
from eventtracking.protocols import Downstream
from eventtracking.standing import Standing, Tally
from eventtracking_buffer import codec
from eventtracking_buffer.delivery.attempt import Report
from eventtracking_buffer.delivery.clock import Clock
from eventtracking_buffer.delivery.queue import QueuedEvent
from eventtracking_buffer.delivery.standings import Change, Transition

__all__ = ["MemoryStore"]

_encode = msgspec.msgpack.Encoder().encode
_PENDING, _FAILED = Outcome.PENDING, Outcome.FAILED
_NOTHING: Final[Standing] = {}


class MemoryStore:
    """Holds the events of one buffer in one process.

    Args:
        arrived: Called for each lane that has new events to look at.
    """

    def __init__(
        self, downstream: Downstream, clock: Clock, arrived: Callable[[str, int], None]
    ) -> None:
        self.routes = downstream.routes
        self.lock = threading.RLock()
        self.incoming: deque[QueuedEvent] = deque()
        self.incoming_bytes = 0
        """About the bytes of `incoming`, added by senders without a lock."""
        self.mean_bytes = 0.0
        self.held: dict[int, QueuedEvent] = {}
        self.held_bytes = 0
        self.queues: dict[str, deque[QueuedEvent]] = {lane: deque() for lane in downstream.lanes}
        self.ledger = Ledger()
        self.tally = Tally(self.routes)
        self.standings: dict[int, Standing] = {}
        """Of events that some leaf has had and that are unfinished, or have dead letters."""
        self.buried: Callable[[Report], None] = lambda _report: None
        """Takes the dead letters of a report, under the lock."""
        self.trim: Callable[[], object] = lambda: None
        """Gives up dead letters beyond the limits, under the lock."""
        self.keeps: Callable[[int], bool] = lambda _key: False
        """Whether an event has dead letters."""
        self._lanes = downstream.lanes
        self._arrived = arrived
        self._clock = clock
        self._keys = itertools.count(1)

    def __len__(self) -> int:
        """Events that are unfinished."""
        return len(self.incoming) + len(self.held)

    # Taking events over

    def put(self, event: Event, size: int) -> None:
        """Take an event over, in one step: the append."""
        self.incoming.append(QueuedEvent(0, event, size, self._clock.time()))

    @staticmethod
    def size_of(event: Event) -> int:
        """Return about how many bytes an event takes when it is encoded."""
        try:
            return len(_encode((event.name, event.context, event.data, event.extra))) + 64
        except Exception:  # noqa: BLE001 - the slow way copes with all that the fast one refuses
            return len(codec.encode(event))

    def distribute(self) -> None:
        """Move what has come into the queues of the lanes."""
        if not self.incoming:
            return
        with self.lock:
            self._distribute()
        for lane, queue in self.queues.items():
            self._arrived(lane, len(queue))

    def _distribute(self) -> None:
        queues = self.queues.values()
        shared = len(self.queues) > 1
        while self.incoming:
            item = self.incoming.popleft()
            item.key = next(self._keys)
            item.size = item.size or self.size_of(item.event)
            self.held[item.key] = item
            self.held_bytes += item.size
            self.ledger.total += ENTER
            for queue in queues:
                queue.append(_copy(item) if shared else item)
        self.incoming_bytes = 0

    # For the lanes

    def waiting(self, lane: str) -> int:
        """Return how many events wait for their first delivery. On any thread."""
        return len(self.queues[lane]) + len(self.incoming)

    def take(self, lane: str, max_events: int, max_bytes: int) -> list[QueuedEvent]:
        """Take the next events for a lane."""
        self.distribute()
        with self.lock:
            return _take(self.queues[lane], max_events, max_bytes)

    def report(self, report: Report) -> None:
        """Count what became of a batch."""
        with self.lock:
            self.buried(report)
            moves: dict[int, tuple[Transition, list[QueuedEvent]]] = {}  # few differ
            alike: list[QueuedEvent] = []
            last: tuple[Standing | None, Standing | None] = None, None
            for item, news in report.news:
                before = self.standings.get(item.key)
                if before is not last[0] or news != last[1]:
                    found = Transition.of(self.routes, before, news)
                    alike = moves.setdefault(id(found), (found, []))[1]
                    last = before, news
                alike.append(item)
            for transition, items in moves.values():
                self.count(transition.changes(self.routes), len(items))
                for item in items:
                    self.settle(item.key, transition)
            self.remark(report.reasons)
            if report.letters:
                self.trim()

    def settle(self, key: int, transition: Transition) -> None:
        """Keep where an event stands now; let go of it if it is final everywhere."""
        if transition.ended is None or self.keeps(key):
            self.standings[key] = transition.after
        else:
            self.standings.pop(key, None)
        item = self.held.pop(key, None) if transition.ended is not None else None
        if item is not None:
            self.held_bytes -= item.size
            self.ledger.total += change_of(_PENDING, transition.ended)

    def count(self, changes: Iterable[Change], count: int = 1) -> None:
        """Count changes below the buffer."""
        for path, old, new in changes:
            ledger = self.tally.ledgers.get(path)
            if ledger is not None:
                change = count * change_of(old, new)
                ledger.total += change

    def remark(self, reasons: dict[str, dict[str, int]]) -> None:
        """Add to the reasons in the counts."""
        for text, count in reasons.pop(self.routes.path, {}).items():
            self.ledger.remark(text, count)
        self.tally.remark(reasons)

    # Giving up

    def fail(self, lane: str, items: Sequence[QueuedEvent], reason: str) -> None:
        """Fail events at the leaves of a lane that still wait for them."""
        report = Report(lane, done=list(items))
        text = reason_text(_FAILED, reason)
        for item in items:
            standing = self.standings.get(item.key, _NOTHING)
            leaves = [leaf for leaf in self._lanes[lane] if self.routes.waits_at(leaf, standing)]
            report.news.append((item, dict.fromkeys(leaves, _FAILED)))
            for leaf in leaves:
                report.remark(leaf, text)
        if items:
            self.report(report)
            if self.routes.path not in self.routes.leaves:
                self.ledger.remark(text, len(items))

    def drop_oldest(self, count: int, reason: str) -> int:
        """Fail the oldest events that no lane is just delivering; return how many there were."""
        self.distribute()
        with self.lock:
            lane, queue = max(self.queues.items(), key=lambda pair: len(pair[1]))
            items = [queue.popleft() for _ in range(min(count, len(queue)))]
            self.fail(lane, items, reason)
        return len(items)

    def counts(self) -> dict[str, Counts]:
        """Read the counts of the buffer's own path and of those below."""
        with self.lock:
            waiting = len(self.incoming)
            own = self.ledger.counts() + Counts(received=waiting, pending=waiting)
            return {**self.tally.counts(), self.routes.path: own}

    def oldest_at(self) -> float | None:
        """When the oldest unfinished event was stored."""
        with self.lock:
            first = next(iter(self.held.values()), None)
            first = first or next(iter(self.incoming), None)
            return None if first is None else first.stored_at


def _take(queue: deque[QueuedEvent], max_events: int, max_bytes: int) -> list[QueuedEvent]:
    taken: list[QueuedEvent] = []
    total = 0
    while queue and len(taken) < max_events:
        if taken and total + queue[0].size > max_bytes:
            break
        taken.append(queue.popleft())
        total += taken[-1].size
    return taken


def _copy(item: QueuedEvent) -> QueuedEvent:
    """Return one more of an event, for another lane: each notes its own failures."""
    return QueuedEvent(item.key, item.event, item.size, item.stored_at)
