"""The compiled tree as a whole: its life, and its routes by path."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

import attrs

from eventtracking._downstream import Subtree
from eventtracking._route import Group, Leaf
from eventtracking.errors import describe_error

__all__ = ["Tree"]

_log = logging.getLogger("eventtracking")
_MAX_TOLD: Final = 5
"""Reasons of one route that the log is told at the end."""


@attrs.frozen(eq=False)
class Tree:
    """A compiled config."""

    root: Group
    routes: dict[str, Leaf | Group]
    """Every route by its path, the root at `""`, parents before their children, in the order of the config."""
    subtrees: dict[str, Subtree]
    """What lies below each router, by the router's path."""

    @classmethod
    def empty(cls) -> Tree:
        """Return a tree without routes, for a tracker without a config."""
        root = Group("", None)
        return cls(root, {"": root}, {})

    @property
    def leaves(self) -> list[Leaf]:
        """The routes with a backend, routers before what lies below them."""
        return [route for route in self.routes.values() if isinstance(route, Leaf)]

    def attempt(self, action: Callable[[Leaf], None]) -> dict[str, Exception]:
        """Do something to each leaf; return what went wrong, by path."""
        errors: dict[str, Exception] = {}
        for leaf in self.leaves:
            try:
                action(leaf)
            except Exception as error:  # noqa: BLE001 - the caller gets it
                errors[leaf.path] = error
        return errors

    def reset(self) -> None:
        """Start anew in a forked child."""
        for route in self.routes.values():
            route.reset()
        for subtree in self.subtrees.values():
            subtree.reset()

    def flush(self, deadline: float) -> bool:
        """Flush every open backend until a deadline of the monotonic clock. Return whether nothing is left.

        Each has an equal share of the time that is left, and those that did not finish have a second turn, so that a dead
        destination does not take the time of the others.
        """
        unfinished = self._flush_each([leaf for leaf in self.leaves if leaf.opened], deadline)
        return not unfinished or not self._flush_each(unfinished, deadline)

    def _flush_each(self, leaves: list[Leaf], deadline: float) -> list[Leaf]:
        unfinished = []
        for index, leaf in enumerate(leaves):
            share = max(deadline - time.monotonic(), 0.0) / (len(leaves) - index)
            if not _attempt(leaf, "flush", lambda leaf=leaf, share=share: leaf.flush(share)):  # type: ignore[misc]  # defaults bind early
                unfinished.append(leaf)
        return unfinished

    def close(self, timeout_s: float) -> None:
        """Flush and close every open backend, routers before what lies below them."""
        self.flush(time.monotonic() + timeout_s)
        for leaf in self.leaves:
            _attempt(leaf, "close", leaf.close)
        for path, route in self.routes.items():
            _tell_of_failures(path, route)


def _tell_of_failures(path: str, route: Leaf | Group) -> None:
    """Tell the log, once, what the route has lost since it was told the last time; on the way of an event nothing is logged."""
    for reason, count in list(route.ledger.take_failures().items())[:_MAX_TOLD]:
        place = route.ledger.places.get(reason)
        where = f" (last at {place})" if place else ""
        _log.warning("route %r: %d event%s %s%s", path, count, "" if count == 1 else "s", reason, where)


def _attempt(leaf: Leaf, verb: str, action: Callable[[], object]) -> bool:
    """Do something to a backend that must not stop the same being done to the others."""
    try:
        return action() is not False
    except Exception as error:  # noqa: BLE001 - the other backends go on
        _log.warning("%s of the backend at %r failed: %s", verb, leaf.path, describe_error(error))
        return False
