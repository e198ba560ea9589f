"""An event's standing: how far it has come at each route below a router.

A standing maps paths to outcomes: of each leaf that has had the event, and of each group whose own
processors ended it. The other groups follow from their leaves. Standings are plain values and the
functions on them are pure, so that stores and messages can keep them: as names, by `to_names`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

from eventtracking.counts import Counts, Ledger, Outcome, change_of

__all__ = ["Routes", "Standing", "Tally", "from_names", "groups_over", "to_names"]

Standing = Mapping[str, Outcome]
"""`{path: outcome so far}` of one event; never changed in place."""

_MAX_SAME: Final = 1_000
"""Standings remembered by `from_names`: few differ at a time, so equal ones share one object."""
_FORMER: Final = (
    Outcome.FILTERED,
    Outcome.DELIVERED,
    Outcome.DEAD_LETTERED,
    Outcome.FAILED,
    Outcome.PENDING,
)
"""The integers that versions before contract 1 wrote, by their index."""
_PENDING: Final = Outcome.PENDING


class Routes:
    """The routes below a router: leaves, and the groups between them and the router.

    Args:
        path: The router's path.
        leaves: The paths where events end.
        independent: Leaves that keep their own counts once they have taken an event: routers.

    Example:
        >>> routes = Routes("r", ["r/g/a", "r/g/b"])
        >>> routes.at("r/g", {"r/g/a": Outcome.DELIVERED}).name
        'PENDING'
    """

    __slots__ = ("_over", "groups", "independent", "leaves", "path")

    def __init__(self, path: str, leaves: Iterable[str], independent: Iterable[str] = ()) -> None:
        self.path = path
        self.leaves = tuple(leaves)
        self.independent = frozenset(independent)
        self._over = {leaf: groups_over(leaf, path) for leaf in self.leaves}
        found = dict.fromkeys(group for groups in self._over.values() for group in groups)
        self.groups: dict[str, tuple[str, ...]] = {
            group: tuple(leaf for leaf in self.leaves if group in self._over[leaf])
            for group in found
        }
        """The leaves below each group, outer groups first."""

    def worst(self, standing: Standing, leaves: Iterable[str] | None = None) -> Outcome:
        """Return the worst outcome at some leaves, at all by default.

        A leaf counts as pending until it has been asked, also below a group that ended the event.
        """
        asked = self.leaves if leaves is None else leaves
        return max((standing.get(leaf, _PENDING) for leaf in asked), default=Outcome.FILTERED)

    def _ended_over(self, path: str, standing: Standing) -> Outcome | None:
        """Return the outcome of the group above a path whose own processors ended the event."""
        over = self._over.get(path)
        for group in groups_over(path, self.path) if over is None else over:
            if group in standing:
                return standing[group]
        return None

    def at(self, path: str, standing: Standing, final: bool = False) -> Outcome | None:
        """Return the outcome that counts at a leaf or a group; None if nothing counts there.

        An event never came to a leaf below a group that ended it, and is no longer this router's
        to count at an independent leaf that has taken it.

        Args:
            final: Whether no leaf is still to have the event (the config may have lost routes).
        """
        if path in self.groups:
            return self._at_group(path, standing, final)
        outcome = standing.get(path)
        if outcome is None or (outcome is Outcome.DELIVERED and path in self.independent):
            return None
        return None if outcome is self._ended_over(path, standing) else outcome

    def _at_group(self, group: str, standing: Standing, final: bool) -> Outcome | None:
        if group in standing:
            return standing[group]
        if self._ended_over(group, standing) is not None:
            return None
        below = [
            outcome
            for path, outcome in standing.items()
            if path.startswith(f"{group}/") and path not in self.groups
        ]
        if not below:
            return None
        return max(below) if final else max(*below, self.worst(standing, self.groups[group]))

    def is_settled(self, standing: Standing) -> bool:
        """Whether every leaf has been asked, and the event is final at each."""
        return self.worst(standing) is not _PENDING

    def waits_at(self, leaf: str, standing: Standing) -> bool:
        """Whether a leaf is still to have the event, or to have it again."""
        return standing.get(leaf, _PENDING) is _PENDING

    def moves(
        self, before: Standing | None, after: Standing | None, final: bool = False
    ) -> Iterator[tuple[str, Outcome | None, Outcome | None]]:
        """Yield `(path, outcome before, outcome after)` for each route whose counts change.

        Args:
            before: None if the event was not counted below.
            after: None if it is not counted there from now on.
        """
        for path in (*self.groups, *self.leaves):
            old = None if before is None else self.at(path, before)
            new = None if after is None else self.at(path, after, final)
            if old is not new:
                yield path, old, new


class Tally:
    """The counts of the routes below a router, which follow from the standings of its events.

    Safe from any thread: each change is one addition.
    """

    __slots__ = ("ledgers", "routes")

    def __init__(self, routes: Routes) -> None:
        self.routes = routes
        self.ledgers = {path: Ledger() for path in (*routes.groups, *routes.leaves)}

    def move(
        self, before: Standing | None, after: Standing | None, count: int = 1, final: bool = False
    ) -> None:
        """Count that events moved from one standing to another; None: not counted here."""
        for path, old, new in self.routes.moves(before, after, final):
            change = count * change_of(old, new)  # no call within `+=`, see `counts`
            self.ledgers[path].total += change

    def remark(self, reasons: Mapping[str, Mapping[str, int]]) -> None:
        """Add reasons by path, such as `Failures.reasons`."""
        for path, texts in reasons.items():
            ledger = self.ledgers.get(path)
            for text, count in texts.items() if ledger is not None else ():
                ledger.remark(text, count)  # type: ignore[union-attr]  # None has no texts

    def counts(self) -> dict[str, Counts]:
        """Read the counts, by path."""
        return {path: ledger.counts() for path, ledger in self.ledgers.items()}


@lru_cache(maxsize=_MAX_SAME)
def groups_over(path: str, root: str) -> tuple[str, ...]:
    """Return the paths between a router and a path below it, outer ones first."""
    prefix = f"{root}/" if root else ""
    if not path.startswith(prefix) or path == root:
        return ()
    inner = path[len(prefix) :].split("/")[:-1]
    return tuple(prefix + "/".join(inner[: count + 1]) for count in range(len(inner)))


def to_names(standing: Standing) -> dict[str, str]:
    """Turn a standing into names, for a file or a message: `{"r/a": "delivered"}`."""
    return {path: outcome.label for path, outcome in standing.items()}


def from_names(names: Mapping[str, Any]) -> Standing:
    """Read back `to_names`, or the integers that versions before contract 1 wrote.

    Raises:
        ValueError: If it holds a value that is no outcome.
    """
    try:
        return _from_names(tuple(names.items()))
    except (TypeError, AttributeError):  # not hashable, or no mapping
        raise ValueError("a standing must map paths to names of outcomes") from None


@lru_cache(maxsize=_MAX_SAME)
def _from_names(names: tuple[tuple[str, Any], ...]) -> Standing:
    return {path: _outcome(name) for path, name in names}


def _outcome(name: Any) -> Outcome:
    if isinstance(name, Outcome):
        return name
    if type(name) is int and 0 <= name < len(_FORMER):
        return _FORMER[name]
    found = Outcome.from_label(name) if isinstance(name, str) else None
    if found is None:
        raise ValueError("a standing must map paths to names of outcomes")
    return found
