"""The memory before the broker: a buffer whose only route is the publication, so that publishing is
never the caller's work.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Final

from eventtracking import Event, Rejected
from eventtracking.counts import Counts, Ledger, Outcome
from eventtracking.protocols import Failures, Progress
from eventtracking.standing import Routes
from eventtracking_buffer.router import BufferRouter

__all__ = ["MemoryBuffer"]

_NEVER: Final = 1 << 62
_MAX_RETRY_S: Final = 5.0
"""A broker that is back is noticed within this time."""

Publish = Callable[[Sequence[Event]], None]


class MemoryBuffer:
    """Holds events until the broker has them, however long that takes, up to a number of events.

    Args:
        path: The path of the router.
        publish: Returns when the broker has confirmed the events.
        max_events: How many may wait; newer ones are refused.
        max_batch_events: How many are published at once.
    """

    def __init__(self, path: str, publish: Publish, max_events: int, max_batch_events: int) -> None:
        self._publishing = PublishDownstream(path, publish)
        self._router = BufferRouter(
            storage="memory",
            max_events=max_events,
            max_batch_events=max_batch_events,
            max_attempts=_NEVER,
            retry_max_s=_MAX_RETRY_S,
        )
        self._router.bind(self._publishing)
        self.open = self._router.open
        self.send = self._router.send
        self.flush = self._router.flush
        self.close = self._router.close

    def counts(self) -> Mapping[str, Counts]:
        """The counts of the router: an event is pending until the broker has it."""
        reasons = Counts(reasons=self._publishing.ledger.counts().reasons)
        return {path: counts + reasons for path, counts in self._router.counts().items()}


# ruff: noqa: ARG002 - the contract of a downstream has arguments that mean nothing with one leaf
# and no books


class PublishDownstream:
    """The publication, as a buffer sees it: `eventtracking.protocols.Downstream` with one leaf, the
    router itself.

    The buffer above keeps the counts; the ledger here has the reasons alone.
    """

    def __init__(self, path: str, publish: Publish) -> None:
        self.path = path
        self.leaves = (path,)
        self.lanes = {path: self.leaves}
        self.children: Mapping[str, str] = {}
        self.routes = Routes(path, self.leaves)
        self.above: tuple[str, ...] = ()
        self.ledger = Ledger()
        self._publish = publish

    def deliver(
        self,
        events: Sequence[Event],
        only: Collection[str] | None = None,
        first: bool = False,
        into: Failures | None = None,
    ) -> Failures:
        """Publish the events; all of them have failed if the broker has not confirmed."""
        failures = Failures() if into is None else into
        ids = [event.id for event in events]
        outcomes = failures.outcomes.setdefault(self.path, {})
        outcomes.update(dict.fromkeys(ids, Outcome.PENDING))
        try:
            self._publish(events)
        except Rejected as error:
            failures[self.path] = dict.fromkeys(error.reasons, error)
            ids = [event_id for event_id in ids if event_id not in error.reasons]
            failures.finished.update(dict.fromkeys(ids, Outcome.DELIVERED))
        except Exception as error:  # noqa: BLE001 - whatever it is, the events wait
            failures[self.path] = dict.fromkeys(ids, error)
        else:
            outcomes.update(dict.fromkeys(ids, Outcome.DELIVERED))
            failures.finished.update(dict.fromkeys(ids, Outcome.DELIVERED))
        return failures

    def settle(
        self, leaf: str, event_ids: Iterable[str], outcome: Outcome, reason: str = ""
    ) -> dict[str, Outcome]:
        """Note why events end without having been published."""
        finished = dict.fromkeys(event_ids, outcome)
        if reason and finished:
            self.ledger.note(outcome, reason, len(finished))
        return finished

    def skip(self, path: str, event_ids: Iterable[str], reason: str = "skipped") -> None:
        """Nothing is chosen here."""

    def tick(self, lane: str | None = None) -> None:
        """Nothing is due by time here."""

    def ticks(self, lane: str) -> bool:
        """Nothing is due by time here."""
        return False

    def reopen(self, leaf: str, event_ids: Iterable[str]) -> None:
        """Nothing is on the books here."""

    def progress(self, event_ids: Iterable[str]) -> Progress:
        """Nothing is half done here."""
        return {}

    def adopt(self, progress: Progress, received: bool) -> None:
        """Nothing is on the books here."""

    def forget(self, event_ids: Iterable[str]) -> None:
        """Nothing is on the books here."""

    def take_counts(self) -> Mapping[str, Counts]:
        """Nothing below is counted in this process."""
        return {}
