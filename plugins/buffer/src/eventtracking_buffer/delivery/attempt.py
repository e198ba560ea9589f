"""One attempt to deliver a batch: the call, and what became of each event."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import attrs

from eventtracking import Outcome, Rejected
from eventtracking.counts import reason_text
from eventtracking.errors import MAX_PAUSE_S, describe_error, pause_of, reason_of
from eventtracking.protocols import Downstream, Failures
from eventtracking_buffer.delivery.queue import QueuedEvent, as_text

__all__ = ["Attempt", "DeliveryInterruptedError", "Report", "Store", "deliver"]

_DEAD, _PENDING = Outcome.DEAD_LETTERED, Outcome.PENDING
_NO_REASON: Final = "not delivered, without a reason"


class DeliveryInterruptedError(Exception):
    """Stands for something that is no Exception and went through a delivery.

    Args:
        text: Its name.
    """


@attrs.define(eq=False)
class Report:
    """What became of one batch of a lane."""

    lane: str
    news: list[tuple[QueuedEvent, dict[str, Outcome]]] = attrs.field(factory=list)
    """Each event with its new outcomes, by path."""
    done: list[QueuedEvent] = attrs.field(factory=list)
    """Nothing is left to do for them on this lane."""
    again: list[QueuedEvent] = attrs.field(factory=list)
    """To be tried again."""
    letters: list[tuple[QueuedEvent, str]] = attrs.field(factory=list)
    """Dead letters now, or still, each with its leaf. The events are among `done`."""
    reasons: dict[str, dict[str, int]] = attrs.field(factory=dict)
    """What to add to the reasons in the counts, by path."""
    last_reason: str = ""

    def remark(self, path: str, text: str, count: int = 1) -> None:
        """Add to a reason in the counts."""
        reasons = self.reasons.setdefault(path, {})
        reasons[text] = reasons.get(text, 0) + count


class Store(Protocol):
    """Where the events of a buffer are, as its lanes see it."""

    def waiting(self, lane: str) -> int:
        """Return how many events wait for their first delivery, as far as is known."""

    def take(self, lane: str, max_events: int, max_bytes: int) -> list[QueuedEvent]:
        """Take the next events that the lane has never had, at least one if there is one."""

    def report(self, report: Report) -> None:
        """Write down what became of a batch. Never raises."""


class Attempt:
    """One call of `deliver`, and what it found out.

    Args:
        lane: The lane's path.
        leaves: All leaves of the lane.
        resting: The leaves that are left alone this time, and for how many seconds yet.
    """

    def __init__(
        self, lane: str, leaves: tuple[str, ...], resting: Mapping[str, float] | None = None
    ) -> None:
        self.report = Report(lane)
        self.resting = {leaf: min(rest_s, MAX_PAUSE_S) for leaf, rest_s in (resting or {}).items()}
        self.failures = Failures()
        self.failures.pauses.update(self.resting)
        self.error: Exception | None = None
        """The last error that may be tried again."""
        self._leaves = leaves
        self._news: dict[int, dict[str, Outcome]] = {}
        self._finished: set[int] = set()
        self._interruption: Exception | None = None

    @property
    def pauses(self) -> dict[str, float]:
        """The pauses that destinations asked for this time."""
        asked = self.failures.pauses.items()
        return {leaf: pause_s for leaf, pause_s in asked if leaf not in self.resting}

    def was_attempt(self, item: QueuedEvent, leaf: str) -> bool:
        """Whether an event that failed at a leaf was tried there; a pause is no attempt."""
        error = self._error_at(leaf, item)
        return error is None or pause_of(error) is None

    def interrupted(self, error: BaseException) -> None:
        """Note that something that is no Exception went through the call."""
        self._interruption = DeliveryInterruptedError(describe_error(error))

    def sort(self, item: QueuedEvent) -> tuple[str, ...]:
        """Note the outcomes of an event; return the leaves where it may be tried again."""
        wanted = item.leaves or self._leaves
        news = self.failures.standing(item.event.id)
        self._news[id(item)] = news
        self.report.news.append((item, news))
        left = [leaf for leaf in wanted if news.get(leaf, _PENDING) is _PENDING]
        item.attempted = item.attempted or bool(news)
        dead = [leaf for leaf in left if isinstance(self._error_at(leaf, item), Rejected)]
        item.leaves = tuple(leaf for leaf in left if leaf not in dead)
        for leaf in dead:
            item.note_failure(self.reason(item, [leaf]))
            self.bury(item, [leaf])
        if not item.leaves:
            self._finish(item)
        return item.leaves

    def bury(self, item: QueuedEvent, leaves: Sequence[str]) -> None:
        """Make dead letters of an event at some leaves."""
        news = self._news.get(id(item))
        if news is None:
            news = self._news[id(item)] = {}
            self.report.news.append((item, news))
        for leaf in leaves:
            news[leaf] = _DEAD
            self.report.letters.append((item, leaf))
            self.report.remark(leaf, reason_text(_DEAD, item.reason))
        self.report.last_reason = item.reason
        if not [leaf for leaf in item.leaves or () if leaf not in leaves]:
            self._finish(item)

    def _finish(self, item: QueuedEvent) -> None:
        if id(item) not in self._finished:
            self._finished.add(id(item))
            self.report.done.append(item)

    def reason(self, item: QueuedEvent, leaves: Sequence[str]) -> str:
        """Say why an event was not delivered, in words that are safe to store."""
        error = self._error_at(leaves[0], item)
        if error is None:
            return _NO_REASON
        if isinstance(error, Rejected):
            return as_text(error.reasons.get(item.event.id, "rejected"))
        self.error = error
        self.report.last_reason = (
            str(error)
            if isinstance(error, DeliveryInterruptedError)
            else as_text(reason_of(error, item.event.id))
        )
        return self.report.last_reason

    def _error_at(self, leaf: str, item: QueuedEvent) -> Exception | None:
        return self.failures.get(leaf, {}).get(item.event.id, self._interruption)


def deliver(downstream: Downstream, items: Sequence[QueuedEvent], attempt: Attempt) -> None:
    """Call the routes below.

    What is no Exception goes on, after it was noted.
    """
    first = items[0]
    events: Sequence[Any] = [item.event for item in items]
    only = first.leaves or downstream.lanes[attempt.report.lane]
    try:
        downstream.deliver(events, only=only, first=not first.attempted, into=attempt.failures)
    except BaseException as error:
        attempt.interrupted(error)
        if not isinstance(error, Exception):
            raise
    finally:
        for path, texts in attempt.failures.reasons.items():
            for text, count in texts.items():
                attempt.report.remark(path, text, count)
