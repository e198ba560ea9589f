"""The routes below a router whose events core counts, until every router counts its own."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from eventtracking._tree.downstream import BoundDownstream
from eventtracking.counts import Counts, Outcome, change_of
from eventtracking.event import Event
from eventtracking.protocols import Failures, Progress
from eventtracking.standing import Standing

__all__ = ["CountedDownstream"]


class CountedDownstream(BoundDownstream):
    """Counts in the routes' ledgers, from the standings of the unfinished events."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.counts_below = False
        self.reset()

    def reset(self) -> None:
        """Forget everything unfinished, as a forked child does."""
        self._open: dict[str, Standing] = {}
        self._same: dict[tuple[tuple[str, Outcome], ...], Standing] = {}
        self._lock = threading.RLock()

    def deliver(
        self,
        events: Sequence[Event],
        only: Collection[str] | None = None,
        first: bool = False,
        into: Failures | None = None,
    ) -> Failures:
        """Deliver, and count."""
        failures = Failures() if into is None else into
        try:
            super().deliver(events, only, first, failures)
        finally:
            for path, texts in failures.reasons.items():
                for text, count in texts.items():
                    self._route_at[path].ledger.remark(text, count)
            for event in events:
                self._mark(event.id, failures.standing(event.id), failures.finished)
        return failures

    def _move(self, before: Standing | None, after: Standing | None) -> None:
        for path, old, new in self.routes.moves(before, after):
            change = change_of(old, new)
            self._route_at[path].ledger.total += change

    def _mark(self, event_id: str, marks: Standing, finished: dict[str, Outcome]) -> None:
        with self._lock:
            before = self._open.get(event_id)
            after = {**(before or {}), **marks}
            self._move(before, after)
            worst = self.routes.worst(after)
            if worst is Outcome.PENDING:
                self._keep(event_id, after)
            else:
                self._open.pop(event_id, None)
                finished[event_id] = worst

    def _keep(self, event_id: str, known: Standing) -> None:
        self._open[event_id] = self._same.setdefault(tuple(known.items()), known)

    def settle(
        self, leaf: str, event_ids: Iterable[str], outcome: Outcome, reason: str = ""
    ) -> dict[str, Outcome]:
        """Give events their final outcome at a leaf; return those that are final everywhere."""
        finished: dict[str, Outcome] = {}
        for event_id in event_ids:
            self._mark(event_id, {leaf: outcome}, finished)
            if reason:
                self._route_at[leaf].ledger.note(outcome, reason)
        return finished

    def reopen(self, leaf: str, event_ids: Iterable[str]) -> None:
        """Move dead-lettered events back to pending."""
        done = {**dict.fromkeys(self.leaves, Outcome.FILTERED), leaf: Outcome.DEAD_LETTERED}
        for event_id in event_ids:
            with self._lock:
                before = self._open.get(event_id) or done
                after = {**before, leaf: Outcome.PENDING}
                self._move(before, after)
                self._keep(event_id, after)

    def progress(self, event_ids: Iterable[str]) -> Progress:
        """Return how far unfinished events have come."""
        found = {event_id: self._open.get(event_id) for event_id in event_ids}
        return {event_id: dict(known) for event_id, known in found.items() if known is not None}

    def adopt(self, progress: Progress, received: bool) -> None:
        """Take over unfinished events from another process."""
        for event_id, outcomes in progress.items():
            known = {
                path: Outcome(outcome)
                for path, outcome in outcomes.items()
                if path in self._route_at
            }
            with self._lock:
                self._keep(event_id, known)
                if received:
                    self._book_pending(known, 1)

    def forget(self, event_ids: Iterable[str]) -> None:
        """Take unfinished events off the books, because another process adopts them."""
        for event_id in event_ids:
            with self._lock:
                self._book_pending(self._open.pop(event_id, {}), -1)

    def _book_pending(self, known: Standing, amount: int) -> None:
        for path in self._route_at:
            if self.routes.at(path, known) is Outcome.PENDING:
                change = amount * change_of(None, Outcome.PENDING)
                self._route_at[path].ledger.total += change

    def take_counts(self) -> Mapping[str, Counts]:
        """Return, once, what was counted below."""
        return {path: route.ledger.take() for path, route in self._route_at.items()}
