"""The delivery of one batch in a worker.

Try each event where it waits, send on what failed or is paused, and bury what is hopeless.
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
from eventtracking.errors import DeliveryError, describe_error, pause_of
from eventtracking.protocols import Downstream, Failures
from eventtracking.standing import Standing
from eventtracking_async_celery.batch import Batch, Verdicts
from eventtracking_async_celery.reasons import by_reason, safe_reason
from eventtracking_async_celery.registry import Owner

__all__ = ["MIN_LOSSES", "Delivery"]

_log = logging.getLogger("eventtracking.async_celery")
MIN_LOSSES: Final = 2
"""One loss alone buries no batch, however few attempts are allowed: RabbitMQ tells of one, too,
where a worker just stopped.
"""

_PENDING: Final = Outcome.PENDING
_Errors = Mapping[str, Mapping[str, Exception]]
"""What failed, by leaf and event id."""


@attrs.define(eq=False)
class Delivery:
    """One attempt at a batch.

    An event that ends here is counted here. One that goes on in another message is counted by the
    worker that ends it.
    """

    downstream: Downstream
    owner: Owner
    batch: Batch
    started_at: float = attrs.field(factory=time.time, init=False)
    _standings: dict[str, Standing] = attrs.field(init=False)
    """How far each event has come, by its id."""

    def __attrs_post_init__(self) -> None:
        known = self.batch.progress
        self._standings = {event.id: known.get(event.id, {}) for event in self.batch.events}

    def run(self) -> None:
        """Deliver what can be delivered.

        When this returns, the broker has confirmed what becomes of the rest.

        Raises:
            PublishError: If it has not; the message must be delivered again.
        """
        self.owner.pauses.note(self.batch.pauses)
        self._bury_what_is_over()
        answer = self._try()
        self._bury(self._hopeless(answer))
        self._send_on(answer)

    # Standing

    @property
    def _leaves(self) -> Sequence[str]:
        """Where the batch goes: a dead letter that is replayed goes where it died, and nowhere
        else.
        """
        return (self.batch.leaf,) if self.batch.leaf else self.downstream.leaves

    def _waiting(self, event_id: str) -> frozenset[str]:
        standing, routes = self._standings[event_id], self.downstream.routes
        return frozenset(leaf for leaf in self._leaves if routes.waits_at(leaf, standing))

    def _move(self, event_id: str, news: Standing) -> None:
        """Note how far an event has come now, and count where it came to its end."""
        before = self._standings[event_id]
        after = self._standings[event_id] = {**before, **news}
        self.owner.worker_counts.ended(before, after)

    # Trying

    def _try(self) -> Failures:
        """Deliver each event to the leaves where it waits, except the paused ones.

        `deliver` knows the paused ones by the answer: a router that passes through gives its other
        leaves their events.
        """
        answer = Failures()
        now = time.time()
        for leaf in self.owner.pauses.held(self._leaves):
            answer.pauses[leaf] = max(self.owner.pauses.until(leaf) - now, 0.0)
        for (leaves, first), events in self._parts().items():
            try:
                self._deliver(events, leaves, first, answer)
            finally:
                for event in events:
                    self._move(event.id, answer.standing(event.id))
        self.owner.worker_counts.remark(answer.reasons)
        return answer

    def _parts(self) -> Mapping[tuple[frozenset[str], bool], list[Event]]:
        """Group the events by the leaves where they are tried, for the first time or again."""
        paused = self.owner.pauses.held(self._leaves)
        parts: dict[tuple[frozenset[str], bool], list[Event]] = defaultdict(list)
        for event in self.batch.events:
            standing = self._standings[event.id]
            waiting = self._waiting(event.id)
            new = frozenset(leaf for leaf in waiting if leaf not in standing)
            held = self._held_lanes(new, paused)
            for leaves, first in ((new - held, True), (waiting - new - paused, False)):
                if leaves:
                    parts[leaves, first].append(event)
        return parts

    def _held_lanes(self, new: frozenset[str], paused: frozenset[str]) -> frozenset[str]:
        """Return the new leaves of lanes where every new leaf is paused; other lanes are tried."""
        if new.isdisjoint(paused):
            return frozenset()
        lanes = [new.intersection(lane) for lane in self.downstream.lanes.values()]
        return frozenset().union(*(lane for lane in lanes if lane <= paused))

    def _deliver(
        self, events: Sequence[Event], leaves: frozenset[str], first: bool, answer: Failures
    ) -> None:
        """Deliver; a backend that asks the process to end has failed, and the process goes on, for
        its siblings.
        """
        only = None if first and len(leaves) == len(self.downstream.leaves) else leaves
        try:
            with self.owner.pulse.paused():
                self.downstream.deliver(events, only, first and only is not None, answer)
        except SystemExit as error:
            if _is_told_to_end(error):
                raise
            failed = DeliveryError("it called sys.exit")
            for leaf in leaves:
                for event_id, outcome in answer.outcomes.get(leaf, {}).items():
                    if outcome is _PENDING:
                        answer.setdefault(leaf, {}).setdefault(event_id, failed)

    # Hopeless events

    def _tries(self, leaf: str) -> int:
        """How often the batch was begun for a leaf before; passing a pause is no attempt."""
        return self.batch.tries - self.batch.spared.get(leaf, 0)

    @property
    def _first_at(self) -> float:
        return self.batch.first_at or self.started_at

    def _bury_what_is_over(self) -> None:
        """Bury events for which not even this attempt is made.

        The outcome of an attempt is not known before a worker is lost with it. And an event may
        grow too old in a pause.
        """
        self._bury({leaf: self._over_at(leaf) for leaf in self._leaves}, tried=0)

    def _over_at(self, leaf: str) -> Verdicts:
        reason = self._over(leaf)
        if not reason:
            return {}
        return {key: reason for key in self._standings if leaf in self._waiting(key)}

    def _over(self, leaf: str) -> str:
        tries, lost = self._tries(leaf), self.batch.lost
        given_up = self._given_up(tries)
        if lost >= MIN_LOSSES and given_up:
            return f"{given_up}the worker died with it {lost} times"
        if not lost and tries >= self.owner.max_attempts:
            return f"{given_up}see the workers' logs"
        pause_over = 0 < self.batch.pauses.get(leaf, 0.0) <= self.started_at
        if pause_over and self._is_too_old():
            return f"{given_up}the destination had asked for a pause"
        return ""

    def _is_too_old(self) -> bool:
        limit_s = self.owner.max_age_s
        return limit_s is not None and time.time() - self._first_at >= limit_s

    def _given_up(self, tries: int) -> str:
        """Why nothing more is tried after so many attempts, or nothing."""
        if tries >= self.owner.max_attempts:
            return f"given up after {tries} attempts: "
        if self._is_too_old():
            age_s = time.time() - self._first_at
            return f"given up after {age_s:.0f} s and {tries} attempts: "
        return ""

    def _hopeless(self, errors: _Errors) -> dict[str, Verdicts]:
        verdicts: dict[str, Verdicts] = defaultdict(dict)
        for leaf, failed in errors.items():
            given_up = self._given_up(self._tries(leaf) + 1)
            for event_id, error in failed.items():
                if isinstance(error, Rejected):
                    verdicts[leaf][event_id] = safe_reason(error, event_id)
                elif given_up and pause_of(error) is None:
                    verdicts[leaf][event_id] = safe_reason(error, event_id, given_up)
        return verdicts

    def _bury(self, verdicts: Mapping[str, Verdicts], tried: int = 1) -> None:
        for leaf, dead in verdicts.items():
            if not dead:
                continue
            letter = attrs.evolve(
                self.batch,
                events=self._events(dead),
                attempt=self._tries(leaf) - self.batch.lost + tried,
                first_at=self._first_at,
                progress={event_id: self._standings[event_id] for event_id in dead},
                dead=dead,
                leaf=leaf,
                died_at=time.time(),
                pauses={},
                spared={},
            )
            self.owner.batch_queue().bury(letter)
            for event_id in dead:
                self._move(event_id, {leaf: Outcome.DEAD_LETTERED})
            for reason, count in by_reason(dead).items():
                self.owner.worker_counts.note(leaf, Outcome.DEAD_LETTERED, reason, count)
                _log.error("%d events became dead letters at %r: %s", count, leaf, reason)

    def _events(self, wanted: Collection[str]) -> Sequence[Event]:
        return [event for event in self.batch.events if event.id in wanted]

    # What waits

    def _send_on(self, answer: Failures) -> None:
        """Send what waits in messages of their own: what failed, and what is paused."""
        self.owner.pauses.note({k: self.started_at + s for k, s in answer.pauses.items() if s})
        held = self.owner.pauses.held(self._leaves)
        groups: dict[frozenset[str], list[str]] = defaultdict(list)
        for event_id in self._standings:
            waiting = self._waiting(event_id)
            if waiting:
                groups[waiting - _unharmed(event_id, waiting, answer)].append(event_id)
        for failed, event_ids in groups.items():
            self._send_part(failed, event_ids, answer, held)

    def _send_part(
        self,
        failed: frozenset[str],
        event_ids: Collection[str],
        answer: Failures,
        held: frozenset[str],
    ) -> None:
        """Send events on that failed at the same leaves, and wait unharmed at the rest.

        Args:
            failed: The leaves where this was an attempt.
        """
        waiting = frozenset(leaf for event_id in event_ids for leaf in self._waiting(event_id))
        spared = {**self.batch.spared}
        for leaf in waiting - failed if failed else ():
            spared[leaf] = spared.get(leaf, 0) + 1
        pauses = {leaf: self.owner.pauses.until(leaf) for leaf in waiting & held}
        delay_s = self._delay_s(failed, waiting, pauses)
        part = attrs.evolve(
            self.batch,
            events=self._events(set(event_ids)),
            attempt=self.batch.attempt + bool(failed),
            first_at=self._first_at,
            progress={event_id: self._standings[event_id] for event_id in event_ids},
            pauses=pauses,
            spared=spared,
        )
        self.owner.batch_queue().send(part, delay_s)
        self._log_waiting(failed, answer, len(event_ids), delay_s)

    def _delay_s(
        self, failed: frozenset[str], waiting: frozenset[str], pauses: Mapping[str, float]
    ) -> float:
        """How long the events wait; a pause that is too long for one message takes several."""
        longest_s = self.owner.max_delay_s
        if failed or waiting - pauses.keys():
            tries = max(self._tries(leaf) for leaf in failed or waiting)
            return min(self.owner.backoff.delay_s(tries + 1), longest_s)
        left_s = min(pauses.values()) - time.time()
        return min(max(left_s, 0.01), longest_s)

    def _log_waiting(
        self, failed: frozenset[str], answer: _Errors, count: int, delay_s: float
    ) -> None:
        if not failed:
            _log.info("%d events wait for a pause, %.1f s", count, delay_s)
            return
        causes = {
            leaf: describe_error(next(iter(answer[leaf].values())))
            for leaf in sorted(failed)
            if answer.get(leaf)
        }
        _log.warning(
            "%d events could not be delivered in attempt %d of %d, and are tried again in %.1f"
            " s: %s",
            count,
            max(self._tries(leaf) for leaf in failed) + 1,
            self.owner.max_attempts,
            delay_s,
            "; ".join(f"{leaf}: {cause}" for leaf, cause in causes.items()),
        )


def _unharmed(event_id: str, waiting: frozenset[str], answer: _Errors) -> frozenset[str]:
    """Return the leaves for which this was no attempt: not tried, or asked to wait."""
    errors = {leaf: answer.get(leaf, {}).get(event_id) for leaf in waiting}
    return frozenset(
        leaf for leaf, error in errors.items() if error is None or pause_of(error) is not None
    )


def _is_told_to_end(error: SystemExit) -> bool:
    """Whether the pool ends this process, or the worker itself, and not a backend: the batch then
    goes back to the broker.
    """
    return type(error) is not SystemExit or (isinstance(error.code, int) and error.code < 0)
