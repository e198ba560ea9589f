"""The routes below a router, as the router sees them: `eventtracking.protocols.Downstream`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager

from eventtracking._pipeline.route import Group, Leaf, Trial
from eventtracking.counts import ENTER, SETTLE, Counts, Outcome
from eventtracking.event import Event
from eventtracking.protocols import Failures, Progress

__all__ = ["Subtree"]


class Subtree:
    """See `eventtracking.protocols.Downstream` for the contract.

    What is unfinished stands in `_open`, by event and path, because a group counts an event by its
    worst child, and a child that failed may be settled long after its siblings. A leaf stands there
    once it has had the event; a group once it has received it, pending until all its leaves have
    had it and none is pending, or with the outcome that its chain gave it.

    A router may have a thread for each leaf. The lock is held for bookkeeping alone, and may be
    entered again, because a destructor or a signal handler may run on the thread that holds it.
    """

    def __init__(
        self,
        root: Group,
        above: tuple[str, ...],
        entered: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self.root = root
        self.path = root.path
        self.above = above
        self.leaves = root.leaves
        self._entered = entered
        self._leaf_at = {route.path: route for route in _routes(root) if isinstance(route, Leaf)}
        self._group_at = {route.path: route for route in _routes(root) if isinstance(route, Group)}
        self._groups_over = {
            path: self._find_groups(path) for path in (*self._leaf_at, *self._group_at)
        }
        self.reset()

    def _find_groups(self, path: str) -> tuple[Group, ...]:
        return tuple(
            group for group in self._group_at.values() if f"{path}/".startswith(f"{group.path}/")
        )

    def reset(self) -> None:
        """Forget everything unfinished, as a forked child does, where another thread may have held
        the lock.
        """
        self._open: Progress = {}
        self._same: dict[tuple[tuple[str, Outcome], ...], dict[str, Outcome]] = {}
        self._lock = threading.RLock()

    def deliver(
        self, events: Sequence[Event], only: Collection[str] | None = None, first: bool = False
    ) -> Failures:
        """Try each event at each leaf, or at some of them; return what failed."""
        if only is None:
            trial = Trial(None, enter=self._enter)
        else:
            trial = (
                Trial(frozenset(only), enter=self._enter)
                if first
                else Trial(frozenset(only), first=False)
            )
        try:
            with self._entered():
                self.root.spread_batch(events, trial)
        finally:
            for event in events:
                marks = {
                    path: outcomes[event.id]
                    for path, outcomes in trial.marks.items()
                    if event.id in outcomes
                }
                self._mark(event.id, marks, trial.failures.finished)
        return trial.failures

    def _enter(self, group: Group, events: Sequence[Event]) -> dict[str, Outcome]:
        """Receive events at a group, unless another leaf has brought them already; return what it
        dropped then.
        """
        dropped: dict[str, Outcome] = {}
        with self._lock:
            for event in events:
                known = self._open.get(event.id, {})
                outcome = known.get(group.path)
                if outcome is None:
                    group.ledger.total += ENTER
                    self._keep(event.id, {**known, group.path: Outcome.PENDING})
                elif outcome is not Outcome.PENDING:
                    dropped[event.id] = outcome
        return dropped

    def _keep(self, event_id: str, known: dict[str, Outcome]) -> None:
        """Note an unfinished event.

        Equal notes are one object, because a leaf that is down leaves many.
        """
        self._open[event_id] = self._same.setdefault(tuple(known.items()), known)

    def settle(
        self, leaf: str, event_ids: Iterable[str], outcome: Outcome, reason: str = ""
    ) -> dict[str, Outcome]:
        """Give events their final outcome at a leaf; return those that are final everywhere."""
        finished: dict[str, Outcome] = {}
        for event_id in event_ids:
            with self._lock:
                known = self._open.get(event_id, {})
                self._leaf_at[leaf].settle(outcome, reason, first=leaf not in known)
                for group in self._groups_over[leaf]:
                    if group.path not in known:
                        group.ledger.total += ENTER
                        known = {**known, group.path: Outcome.PENDING}
                self._open[event_id] = known
                self._mark(event_id, {leaf: outcome}, finished)
        return finished

    def _mark(self, event_id: str, marks: dict[str, Outcome], finished: dict[str, Outcome]) -> None:
        """Write down new outcomes, and settle the groups that have none left to wait for."""
        with self._lock:
            before = self._open.get(event_id, {})
            known = before | marks
            for group in (
                {group for path in marks for group in self._groups_over[path]}
                if self._group_at
                else ()
            ):
                self._mark_group(group, before, known, marks)
            worst = self._worst(self.leaves, known)
            if worst is Outcome.PENDING:
                self._keep(event_id, known)
            else:
                self._open.pop(event_id, None)
                finished[event_id] = worst

    def _mark_group(
        self,
        group: Group,
        before: Mapping[str, Outcome],
        known: dict[str, Outcome],
        marks: Mapping[str, Outcome],
    ) -> None:
        """Settle a group once: when its chain has dropped the event, or when the last of its leaves
        is done with it.
        """
        if before.get(group.path) is not Outcome.PENDING:
            return
        outcome = marks.get(group.path, self._worst(group.leaves, known))
        group.ledger.total += SETTLE[outcome]
        known[group.path] = outcome

    def _worst(self, leaves: Collection[str], known: Mapping[str, Outcome]) -> Outcome:
        """The worst outcome at some leaves; one that has not had the event yet counts as
        pending.
        """
        return max((known.get(leaf, Outcome.PENDING) for leaf in leaves), default=Outcome.FILTERED)

    def reopen(self, leaf: str, event_ids: Iterable[str]) -> None:
        """Move dead-lettered events back to pending."""
        groups = self._groups_over[leaf]
        done = dict.fromkeys(
            self.leaves, Outcome.FILTERED
        )  # the outcome that is better than any other
        dead = dict.fromkeys((leaf, *(group.path for group in groups)), Outcome.DEAD_LETTERED)
        for event_id in event_ids:
            with self._lock:
                known = self._open.get(event_id) or {**done, **dead}
                self._leaf_at[leaf].ledger.move(Outcome.DEAD_LETTERED, Outcome.PENDING)
                for group in groups:
                    group.ledger.move(known[group.path], Outcome.PENDING)
                self._keep(event_id, {**known, **dict.fromkeys(dead, Outcome.PENDING)})

    def progress(self, event_ids: Iterable[str]) -> Progress:
        """Return how far unfinished events have come."""
        found = {event_id: self._open.get(event_id) for event_id in event_ids}
        return {
            event_id: self._without_groups(known)
            for event_id, known in found.items()
            if known is not None
        }

    def _without_groups(self, known: Mapping[str, Outcome]) -> dict[str, Outcome]:
        """Leave out the groups whose outcome follows from their leaves'; a chain may have dropped
        what a leaf is still to have.
        """
        return {
            path: outcome
            for path, outcome in known.items()
            if path in self._leaf_at
            or outcome is not self._worst(self._group_at[path].leaves, known)
        }

    def adopt(self, progress: Progress, received: bool) -> None:
        """Take over unfinished events from another process, whose config may have had
        other routes.
        """
        for event_id, outcomes in progress.items():
            known = {
                path: Outcome(outcome)
                for path, outcome in outcomes.items()
                if path in self._groups_over
            }
            for group in self._group_at.values():
                if not known.keys().isdisjoint(group.leaves) and not self._is_over_above(
                    group, known
                ):
                    known.setdefault(group.path, self._worst(group.leaves, known))
            with self._lock:
                self._keep(event_id, known)
                if received:
                    self._book_pending(known, ENTER)

    def _is_over_above(self, group: Group, known: Mapping[str, Outcome]) -> bool:
        """Whether the chain of a group further up has ended an event, so that it never came to this
        one.
        """
        above = (
            known.get(over.path, Outcome.PENDING)
            for over in self._groups_over[group.path]
            if over is not group
        )
        return any(outcome is not Outcome.PENDING for outcome in above)

    def forget(self, event_ids: Iterable[str]) -> None:
        """Take unfinished events off the books, because another process adopts them."""
        for event_id in event_ids:
            with self._lock:
                self._book_pending(self._open.pop(event_id, {}), -ENTER)

    def _book_pending(self, known: Mapping[str, Outcome], amount: int) -> None:
        for path, outcome in known.items():
            if outcome is Outcome.PENDING:
                route = self._leaf_at.get(path) or self._group_at[path]
                route.ledger.total += amount

    def take_counts(self) -> Mapping[str, Counts]:
        """Return, once, what was counted below."""
        return {route.path: route.ledger.take() for route in _routes(self.root)}


def _routes(root: Group) -> Iterator[Leaf | Group]:
    """Every route below, without those below a further router."""
    for child in root.children:
        yield child
        if isinstance(child, Group):
            yield from _routes(child)
