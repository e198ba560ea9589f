"""The routes below a router, as the router sees them: `eventtracking.protocols.Downstream`."""

from __future__ import annotations

import logging
from _thread import get_ident
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any

from eventtracking._pipeline.route import Group, Route
from eventtracking._tree.attempt import DeliveryAttempt, Passage
from eventtracking._tree.leaf import Leaf
from eventtracking.counts import Outcome
from eventtracking.errors import describe_error
from eventtracking.event import Event
from eventtracking.failures import Failures
from eventtracking.standing import Routes

__all__ = ["BoundDownstream", "Inside", "routes_below"]

Inside = Callable[..., Any]

_log = logging.getLogger("eventtracking")


class BoundDownstream:
    """See `eventtracking.protocols.Downstream` for the contract.

    Args:
        route: The router's own route.
        below: Its children.
        above: The plugin names of the routers above.
        inside: Calls a function with the current thread marked as inside the tree.
    """

    def __init__(self, route: Leaf, below: Group, above: tuple[str, ...], inside: Inside) -> None:
        self.root = below
        self.path = below.path
        self.above = above
        self.leaves = tuple(leaf.path for leaf in below.leaves)
        self.children = {child.path.rpartition("/")[2]: child.path for child in below.children}
        self.lanes = dict(_lanes(below))
        independent = [leaf.path for leaf in below.leaves if leaf.counts_itself]
        self.routes = Routes(self.path, self.leaves, independent)
        self._route = route
        self._counts = isinstance(route, Passage)
        """Whether the routes' own ledgers count: a router that defers keeps its own counts."""
        self._inside = inside
        self._route_at = {found.path: found for found in routes_below(below)}

    def deliver(
        self,
        events: Sequence[Event],
        only: Collection[str] | None = None,
        first: bool = False,
        into: Failures | None = None,
    ) -> Failures:
        """Deliver each event to each leaf, or to some; see the protocol."""
        failures = Failures() if into is None else into
        leaves = None if only is None else self._expand(only)
        above = self._above()
        if above is not None:
            self._join(above.narrowed(leaves), above, events, failures)
            return failures
        attempt = DeliveryAttempt(
            only=leaves,
            first=first or only is None,
            failures=failures,
            ledgers=self._counts,
            resting=dict(failures.pauses),
        )
        try:
            self._inside(attempt.spread, self.root.children, events)
        finally:
            attempt.settle_ledgers()
        return failures

    def _above(self) -> DeliveryAttempt | None:
        """Return the delivery from above that this thread is in, for a router without `defers`."""
        return self._route.joined.get(get_ident()) if isinstance(self._route, Passage) else None

    def _join(
        self,
        part: DeliveryAttempt,
        above: DeliveryAttempt,
        events: Sequence[Event],
        failures: Failures,
    ) -> None:
        try:
            part.spread(self.root.children, events)
        finally:
            above.failures.merge(part.failures)
            failures.merge(part.failures)

    def _expand(self, paths: Collection[str]) -> frozenset[str]:
        """Return the leaves at or below some paths; one that is unknown has none."""
        found = (self._route_at.get(path) for path in paths)
        return frozenset(leaf.path for route in found if route for leaf in route.leaves)

    def skip(self, path: str, event_ids: Iterable[str], reason: str = "skipped") -> None:
        """Filter events at a path."""
        self._decide(lambda attempt: attempt.skip(self._route_at[path], list(event_ids), reason))

    def settle(
        self, leaf: str, event_ids: Iterable[str], outcome: Outcome, reason: str = ""
    ) -> None:
        """Give events at a leaf their final outcome."""
        ids = list(event_ids)
        self._decide(lambda attempt: attempt.settle(self._route_at[leaf], ids, outcome, reason))

    def _decide(self, decide: Callable[[DeliveryAttempt], None]) -> None:
        """Decide over events in the delivery from above; without one, in the ledgers."""
        above = self._above()
        if above is not None:
            decide(above)
        elif self._counts:
            attempt = DeliveryAttempt(ledgers=True)
            decide(attempt)
            attempt.settle_ledgers()

    def tick(self, lane: str | None = None) -> None:
        """Call the backends' `tick`, each by itself."""
        wanted = self.leaves if lane is None else self.lanes.get(lane, ())
        for leaf in self.root.leaves:
            tick = getattr(leaf.backend, "tick", None)
            if leaf.path not in wanted or not leaf.opened or not callable(tick):
                continue
            try:
                self._inside(tick)
            except Exception as error:  # noqa: BLE001 - the other backends have their turn
                if leaf.ledger.remark_once(f"tick() raised {type(error).__name__}"):
                    _log.warning("route %r: tick() failed: %s", leaf.path, describe_error(error))

    def ticks(self, lane: str) -> bool:
        """Whether any backend in a lane has a `tick`."""
        wanted = self.lanes.get(lane, ())
        leaves = (leaf for leaf in self.root.leaves if leaf.path in wanted)
        return any(callable(getattr(leaf.backend, "tick", None)) for leaf in leaves)


def _lanes(group: Group) -> Iterator[tuple[str, tuple[str, ...]]]:
    for child in group.children:
        if isinstance(child, Group):
            yield from _lanes(child)
        else:
            yield child.path, tuple(leaf.path for leaf in child.leaves)


def routes_below(root: Group) -> Iterator[Route]:
    """Yield every route below, outer ones first, without those below a router that defers."""
    for child in root.children:
        yield child
        inner: Any = child.below if isinstance(child, Passage) else child
        if isinstance(inner, Group):
            yield from routes_below(inner)
