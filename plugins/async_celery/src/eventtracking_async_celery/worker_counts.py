"""The counts of one router in one process: what it published, and what it delivered as a worker."""

from __future__ import annotations

import os
from collections.abc import Mapping

from eventtracking.counts import Counts, Ledger, Outcome, change_of, reason_text
from eventtracking.standing import Routes, Standing, Tally

__all__ = ["WorkerCounts"]

_PENDING = Outcome.PENDING


class WorkerCounts:
    """Counts an event where it comes to its end.

    What goes on in another message is counted by the worker that ends it; while it is on the
    broker, no process counts it. A forked child starts at zero.

    Args:
        routes: The routes below the router.
    """

    def __init__(self, routes: Routes) -> None:
        self._routes = routes
        self._start()

    def _start(self) -> None:
        self._published, self._tally, self._pid = Ledger(), Tally(self._routes), os.getpid()

    def _in_this_process(self) -> Tally:
        if self._pid != os.getpid():
            self._start()
        return self._tally

    def published(self, count: int) -> None:
        """Count events that the broker has confirmed; the router has delivered these."""
        self._in_this_process()
        change = count * Outcome.DELIVERED.record  # no call within `+=`, see `eventtracking.counts`
        self._published.total += change

    def ended(self, before: Standing, after: Standing) -> None:
        """Count an event at each route where it has come to its end."""
        ledgers = self._in_this_process().ledgers
        for path, old, new in self._routes.moves(before, after):
            if new is not None and new is not _PENDING and old in (None, _PENDING):
                change = change_of(None, new)
                ledgers[path].total += change

    def remark(self, reasons: Mapping[str, Mapping[str, int]]) -> None:
        """Add the reasons of a delivery."""
        self._in_this_process().remark(reasons)

    def note(self, leaf: str, outcome: Outcome, reason: str, count: int) -> None:
        """Add a reason of one leaf."""
        self.remark({leaf: {reason_text(outcome, reason): count}})

    def counts(self) -> dict[str, Counts]:
        """Read the counts of the router and of the routes below."""
        tally = self._in_this_process()
        return {self._routes.path: self._published.counts(), **tally.counts()}
