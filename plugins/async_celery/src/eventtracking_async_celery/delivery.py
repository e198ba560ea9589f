"""The delivery of one batch in a worker: try, send what failed on for later, bury what is
hopeless.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Final

import attrs

from eventtracking import Event, Rejected
from eventtracking.counts import Outcome
from eventtracking.errors import DeliveryError, describe_error
from eventtracking.protocols import Downstream
from eventtracking_async_celery.batch import Batch, Verdicts
from eventtracking_async_celery.registry import Owner

__all__ = ["MIN_LOSSES", "Delivery"]

_log = logging.getLogger("eventtracking.async_celery")
MIN_LOSSES: Final = 2
"""One loss alone buries no batch, however few attempts are allowed: RabbitMQ tells of one, too,
where a worker just stopped.
"""
_MAX_REASON: Final = 500
"""Characters of a reason: it travels with each event, and stands in lists."""

Failed = dict[str, dict[str, Exception]]
"""What failed, by leaf and event id."""


@attrs.define(eq=False)
class Delivery:
    """One attempt at a batch.

    The events are on the books of this process while the attempt lasts. Those that end here stay
    there; those that go on in another message are taken off, and the worker that gets it enters
    them again.
    """

    downstream: Downstream
    owner: Owner
    batch: Batch
    started_at: float = attrs.field(factory=time.time, init=False)

    def run(self) -> None:
        """Deliver what can be delivered.

        When this returns, the broker has confirmed what becomes of the rest.

        Raises:
            PublishError: If it has not; the message must be delivered again.
        """
        try:
            if self._is_over():
                self._bury(self._untried(), tried=0)
                return
            failures = self._try()
            if failures:
                self._bury(self._hopeless(failures))
                self._send_on(failures)
        finally:
            self.downstream.forget([event.id for event in self.batch.events])

    # Trying

    def _try(self) -> Failed:
        if not self.batch.progress:
            return self._deliver(self.batch.events)
        self.downstream.adopt({k: dict(v) for k, v in self.batch.progress.items()}, received=True)
        failures: Failed = {}
        for leaf in self._leaves:
            for first in (False, True):
                events = self._events_at(leaf, first)
                if events:
                    for path, errors in self._deliver(events, {leaf}, first).items():
                        failures.setdefault(path, {}).update(errors)
        return failures

    def _deliver(
        self, events: Sequence[Event], only: Collection[str] | None = None, first: bool = False
    ) -> Failed:
        """Deliver; a backend that asks the process to end has failed, and the process goes on, for
        its siblings.
        """
        try:
            return self.downstream.deliver(events, only, first)
        except SystemExit as error:
            if _is_told_to_end(error):
                raise
            return self._left_pending(events, only, DeliveryError("it called sys.exit"))

    def _left_pending(
        self, events: Sequence[Event], only: Collection[str] | None, error: Exception
    ) -> Failed:
        """What an interrupted delivery has left undone; a sibling's own error is lost with it."""
        progress = self.downstream.progress([event.id for event in events])
        failures: Failed = defaultdict(dict)
        for leaf in only or self.downstream.leaves:
            for event_id, known in progress.items():
                if known.get(leaf) is Outcome.PENDING:
                    failures[leaf][event_id] = error
        return failures

    @property
    def _leaves(self) -> Sequence[str]:
        """Where the batch goes: a dead letter that is replayed goes where it died, and nowhere
        else.
        """
        return (self.batch.leaf,) if self.batch.leaf else self.downstream.leaves

    def _events_at(self, leaf: str, first: bool) -> list[Event]:
        """The events that are pending at a leaf, or, where the config has a new one, have never
        been there.
        """
        wanted = None if first else Outcome.PENDING
        return [
            event
            for event in self.batch.events
            if self.batch.progress.get(event.id, {}).get(leaf) is wanted
        ]

    # What failed

    @property
    def _attempts(self) -> int:
        """How often it was begun, this time included."""
        return self.batch.tries + 1

    @property
    def _first_at(self) -> float:
        return self.batch.first_at or self.started_at

    def _is_over(self) -> bool:
        """Whether not even this attempt is made: what becomes of one is not known before a worker
        is lost with it.
        """
        if not self.batch.lost:
            return self.batch.tries >= self.owner.max_attempts
        return self.batch.lost >= MIN_LOSSES and bool(self._given_up(self.batch.tries))

    def _untried(self) -> dict[str, Verdicts]:
        """Every event, at each leaf where it is not over."""
        self.downstream.adopt({k: dict(v) for k, v in self.batch.progress.items()}, received=True)
        lost = self.batch.lost
        cause = f"the worker died with it {lost} times" if lost else "see the workers' logs"
        reason = self._given_up(self.batch.tries) + cause
        waiting = {
            leaf: [*self._events_at(leaf, False), *self._events_at(leaf, True)]
            for leaf in self._leaves
        }
        return {
            leaf: {event.id: reason for event in events}
            for leaf, events in waiting.items()
            if events
        }

    def _given_up(self, tries: int) -> str:
        """Why nothing more is tried after so many attempts, or nothing."""
        if tries >= self.owner.max_attempts:
            return f"given up after {tries} attempts: "
        age = time.time() - self._first_at
        if self.owner.max_age_s is not None and age >= self.owner.max_age_s:
            return f"given up after {age:.0f} s and {tries} attempts: "
        return ""

    def _hopeless(self, failures: Mapping[str, Mapping[str, Exception]]) -> dict[str, Verdicts]:
        given_up = self._given_up(self._attempts)
        verdicts: dict[str, Verdicts] = defaultdict(dict)
        for leaf, errors in failures.items():
            for event_id, error in errors.items():
                if isinstance(error, Rejected):
                    verdicts[leaf][event_id] = _reason(error.reasons.get(event_id))
                elif given_up:
                    verdicts[leaf][event_id] = _reason(given_up + describe_error(error))
        return verdicts

    def _bury(self, verdicts: Mapping[str, Verdicts], tried: int = 1) -> None:
        for leaf, dead in verdicts.items():
            letter = attrs.evolve(
                self.batch,
                events=self._events(dead),
                attempt=self.batch.attempt + tried,
                first_at=self._first_at,
                progress=self.downstream.progress(dead),
                dead=dead,
                leaf=leaf,
                died_at=time.time(),
            )
            self.owner.batch_queue().bury(letter)
            for reason, event_ids in _by_reason(dead).items():
                self.downstream.settle(leaf, event_ids, Outcome.DEAD_LETTERED, reason)
                _log.error("%d events became dead letters at %r: %s", len(event_ids), leaf, reason)

    def _send_on(self, failures: Mapping[str, Mapping[str, Exception]]) -> None:
        progress = self.downstream.progress(
            event_id for errors in failures.values() for event_id in errors
        )
        waiting = {key: known for key, known in progress.items() if self._waits(known)}
        if not waiting:
            return
        delay_s = self.owner.backoff.delay_s(self._attempts)
        self.owner.batch_queue().send(
            attrs.evolve(
                self.batch,
                events=self._events(waiting),
                attempt=self.batch.attempt + 1,
                first_at=self._first_at,
                progress=waiting,
            ),
            delay_s,
        )
        self._log_retry(failures, len(waiting), delay_s)

    def _waits(self, known: Mapping[str, Outcome]) -> bool:
        return any(known.get(leaf) is Outcome.PENDING for leaf in self._leaves)

    def _events(self, wanted: Mapping[str, object]) -> Sequence[Event]:
        return [event for event in self.batch.events if event.id in wanted]

    def _log_retry(
        self, failures: Mapping[str, Mapping[str, Exception]], count: int, delay_s: float
    ) -> None:
        causes = {
            leaf: _reason(describe_error(next(iter(errors.values()))))
            for leaf, errors in failures.items()
        }
        _log.warning(
            "%d events could not be delivered in attempt %d of %d, and are tried again in %.1f"
            " s: %s",
            count,
            self._attempts,
            self.owner.max_attempts,
            delay_s,
            "; ".join(f"{leaf}: {cause}" for leaf, cause in causes.items()),
        )


def _is_told_to_end(error: SystemExit) -> bool:
    """Whether the pool ends this process, or the worker itself, and not a backend: the batch then
    goes back to the broker.
    """
    return type(error) is not SystemExit or (isinstance(error.code, int) and error.code < 0)


def _reason(given: object) -> str:
    """Make of what a backend gave as a reason a text that can be sent and stored."""
    if isinstance(given, BaseException):
        given = describe_error(given)
    if not isinstance(given, str):
        given = (
            "rejected"
            if given is None
            else f"rejected, with a reason of type {type(given).__name__}"
        )
    text = given[:_MAX_REASON].encode("utf-8", "backslashreplace").decode()
    return text if len(given) <= _MAX_REASON else f"{text}..."


def _by_reason(dead: Verdicts) -> Mapping[str, Sequence[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for event_id, reason in dead.items():
        found[reason].append(event_id)
    return found
