"""The memory before the broker: a buffer whose only route is the publication, so that publishing is
never the caller's work.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Final

from eventtracking import Event, Rejected
from eventtracking.counts import Counts, Outcome
from eventtracking.protocols import Failures
from eventtracking.standing import Routes
from eventtracking_buffer.router import BufferRouter

__all__ = ["MemoryBuffer"]

_NEVER: Final = 1 << 62
_MAX_RETRY_S: Final = 5.0
"""A broker that is back is noticed within this time."""

Publish = Callable[[Sequence[Event]], Mapping[str, str]]


class MemoryBuffer:
    """Holds events until the broker has them, however long that takes, up to a number of events.

    Args:
        path: The path of the router.
        publish: Returns when the broker has confirmed the events, with the reasons of those that
            never can be published.
        max_events: How many may wait; newer ones are refused.
        max_batch_events: How many are published at once.
    """

    def __init__(self, path: str, publish: Publish, max_events: int, max_batch_events: int) -> None:
        self._path = path
        self._router = BufferRouter(
            storage="memory",
            max_events=max_events,
            max_batch_events=max_batch_events,
            max_attempts=_NEVER,
            retry_max_s=_MAX_RETRY_S,
        )
        self._router.bind(PublishDownstream(path, publish))
        self.open = self._router.open
        self.send = self._router.send
        self.flush = self._router.flush
        self.close = self._router.close

    def counts(self) -> Counts:
        """The counts of the router: an event is pending until the broker has it."""
        return self._router.counts().get(self._path, Counts())


# ruff: noqa: ARG002 - the contract of a downstream has arguments that mean nothing with one leaf


class PublishDownstream:
    """The publication, as a buffer sees it: `eventtracking.protocols.Downstream` with one leaf, the
    router itself. The buffer above keeps the counts.
    """

    def __init__(self, path: str, publish: Publish) -> None:
        self.path = path
        self.leaves = (path,)
        self.lanes = {path: (path,)}
        self.children: Mapping[str, str] = {}
        self.above: tuple[str, ...] = ()
        self.routes = Routes(path, (path,))
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
        outcomes = dict.fromkeys((event.id for event in events), Outcome.PENDING)
        failures.outcomes[self.path] = outcomes
        errors: dict[str, Exception] = {}
        try:
            refused = self._publish(events)
            errors = {key: Rejected({key: reason}) for key, reason in refused.items()}
        except Exception as error:  # noqa: BLE001 - whatever it is, the events wait
            errors = dict.fromkeys(outcomes, error)
        if errors:
            failures[self.path] = errors
        for event_id in outcomes.keys() - errors.keys():
            outcomes[event_id] = Outcome.DELIVERED
        return failures

    def skip(self, path: str, event_ids: Iterable[str], reason: str = "skipped") -> None:
        """No buffer skips anything."""

    def settle(
        self, leaf: str, event_ids: Iterable[str], outcome: Outcome, reason: str = ""
    ) -> None:
        """No buffer settles anything."""

    def tick(self, lane: str | None = None) -> None:
        """Nothing is due by time."""

    def ticks(self, lane: str) -> bool:
        """Nothing is due by time."""
        return False
