"""The compiled tree as a whole: its life, and its routes by path."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from eventtracking._pipeline.route import Group
from eventtracking._tree.attempt import Passage
from eventtracking._tree.downstream import BoundDownstream, Inside
from eventtracking._tree.leaf import Leaf
from eventtracking._tree.observers import Observers, RouteView
from eventtracking.counts import Counts
from eventtracking.errors import describe_error

if TYPE_CHECKING:
    from eventtracking._tree.taps import Tap

__all__ = ["Tree"]

_log = logging.getLogger("eventtracking")
_NO_COUNTS: Final = Counts()
_Item = TypeVar("_Item")
_MAX_TOLD: Final = 5
"""Reasons of one route that the log is told at the end."""


class Tree(msgspec.Struct, frozen=True, eq=False):
    """A compiled config."""

    root: Group
    routes: dict[str, Leaf | Group]
    """Every route by its path, the root at `""`, parents before their children, in the order of the
    config.
    """
    downstreams: dict[str, BoundDownstream]
    """The routes below each router, by the router's path."""
    inside: Inside = lambda action, *given: action(*given)
    """Calls a function with the current thread marked as inside, so that its emits wait."""
    observers: Observers = msgspec.field(default_factory=Observers)
    views: tuple[RouteView, ...] = (RouteView("", None, None, (), ()),)

    @classmethod
    def empty(cls) -> Tree:
        """Return a tree without routes, for a tracker without a config."""
        root = Group("", None)
        return cls(root, {"": root}, {})

    @property
    def leaves(self) -> list[Leaf]:
        """The routes with a backend, routers before the routes below them."""
        return [route for route in self.routes.values() if isinstance(route, Leaf)]

    def attempt(self, action: Callable[[Leaf], None]) -> dict[str, Exception]:
        """Do an action at each leaf; return the errors, by path."""
        errors: dict[str, Exception] = {}

        def attempt(leaf: Leaf) -> None:
            try:
                action(leaf)
            except Exception as error:  # noqa: BLE001 - the caller gets it
                errors[leaf.path] = error

        self._each(self.leaves, "use", attempt)
        return errors

    def reset(self) -> None:
        """Start anew in a forked child."""
        for route in self.routes.values():
            route.reset()
        self.observers.reset()

    def open_until(self, deadline: float) -> None:
        """Open every backend that is not open yet, as far as the time goes; one that cannot
        be opened now is left as it is.
        """

        def open_in_time(leaf: Leaf) -> None:
            left_s = deadline - time.monotonic()
            if left_s > 0:
                with suppress(Exception):
                    leaf.open(left_s)

        self._each(self.leaves, "open", open_in_time)

    def flush(self, deadline: float, closing: bool = False) -> bool:
        """Flush every backend until a deadline of the monotonic clock.

        Return whether nothing is left.

        Each has an equal share of the time that is left, and those that did not finish have a
        second turn, so that a dead destination does not take the time of the others.

        Args:
            closing: Whether those that are not open do not matter.
        """
        unfinished = self._flush_each(
            [leaf for leaf in self.leaves if leaf.opened or not closing], deadline
        )
        if not unfinished or time.monotonic() >= deadline:
            return not unfinished
        return not self._flush_each(unfinished, deadline)

    def _flush_each(self, leaves: list[Leaf], deadline: float) -> list[Leaf]:
        left = len(leaves)

        def flush(leaf: Leaf) -> bool:
            nonlocal left
            share_s = max(deadline - time.monotonic(), 0.0) / left
            left -= 1
            return leaf.flush(share_s)

        return self._each(leaves, "flush", flush)

    def close(self, timeout_s: float) -> None:
        """Flush and close every open backend, routers before the routes below them."""
        try:
            self.flush(time.monotonic() + timeout_s, closing=True)
        finally:
            self._each(self.leaves, "close", Leaf.close)
            self.observers.close()
            for path, route in self.routes.items():
                _tell_of_failures(path, route)

    def _each(
        self, leaves: Sequence[Leaf], verb: str, action: Callable[[Leaf], object]
    ) -> list[Leaf]:
        """Do an action at each backend, isolated from the others; return those where it failed
        or was not finished.
        """
        unfinished = []
        escaped: BaseException | None = None
        for leaf in leaves:
            try:
                if self.inside(action, leaf) is False:
                    unfinished.append(leaf)
            except Exception as error:  # noqa: BLE001 - the other backends go on
                _log.warning(
                    "%s of the backend at %r failed: %s", verb, leaf.path, describe_error(error)
                )
                unfinished.append(leaf)
            except BaseException as error:  # it goes on when the others had their turn
                if isinstance(error, KeyboardInterrupt) and verb != "close":
                    raise  # the user wants it to end now
                escaped = error
        if escaped is not None:
            raise escaped
        return unfinished

    def counts(self, shared: bool = True) -> dict[str, Counts]:
        """Read the counts of every route, by its path.

        Args:
            shared: Whether those are in it that a router shares with other processes.
        """
        total = dict.fromkeys(self.routes, Counts())
        for route in self.routes.values():
            if isinstance(route, Passage):
                route.settle_interrupted()
            found = self.inside(route.counts, shared)
            for path, counts in found.items():
                total[path] = total.get(path, _NO_COUNTS) + counts
        return total

    def tap(self, path: str, before: bool, room: int) -> Tap:
        """Look at a route.

        Raises:
            KeyError: If there is none at that path.
        """
        from eventtracking._tree.taps import Tap  # few processes are watched

        return Tap(_named(self.routes, path, "route"), before, room)

    def downstream(self, path: str) -> BoundDownstream:
        """Return the routes below the router at a path.

        Raises:
            KeyError: If there is none at that path.
        """
        return _named(self.downstreams, path, "router")

    def own_counts(self) -> dict[str, Counts]:
        """Read the counts of this process, without those that routers keep."""
        return {path: route.ledger.counts() for path, route in self.routes.items()}


def _named(found: Mapping[str, _Item], path: str, kind: str) -> _Item:
    if path not in found:
        known = ", ".join(one or '""' for one in found) or "none"
        raise KeyError(f"no {kind} at {path!r}; the {kind}s of this config are {known}")
    return found[path]


def _tell_of_failures(path: str, route: Leaf | Group) -> None:
    """Log the route's losses since the last time; on the way of an event nothing is logged."""
    for reason, count in list(route.ledger.take_failures().items())[:_MAX_TOLD]:
        place = route.ledger.places.get(reason)
        where = f" (last at {place})" if place else ""
        _log.warning(
            "route %r: %d event%s %s%s", path, count, "" if count == 1 else "s", reason, where
        )
