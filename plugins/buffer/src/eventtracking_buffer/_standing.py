"""How an event stands at the routes below a buffer, and what the books of a group hold of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Final

import msgspec

from eventtracking import Counts, Outcome

__all__ = ["Known", "Routes", "add_change", "groups_over", "minus", "pack_known", "unpack_known"]

Known = Mapping[str, Outcome]
"""The outcome of an event so far, by the path of a leaf that has had it, or of a group whose own
chain has ended it.
"""

_ORDER: Final = tuple(Outcome)
_NOTHING: Final[Known] = {}
_MAX_SAME: Final = 1_000
"""How many different ways in which events stand are remembered; there are few at a time."""


class Routes:
    """The leaves below a buffer, and the groups between it and them."""

    def __init__(self, path: str, leaves: Iterable[str]) -> None:
        self.path = path
        self.leaves = tuple(leaves)
        self._over = {leaf: tuple(groups_over(leaf, path)) for leaf in self.leaves}
        found = dict.fromkeys(group for groups in self._over.values() for group in groups)
        self.groups = {
            group: tuple(leaf for leaf in self.leaves if group in self._over[leaf])
            for group in found
        }

    def worst(self, known: Known, leaves: Iterable[str]) -> Outcome:
        """The worst outcome at some leaves; one that has not had the event yet counts as
        pending.
        """
        return max((known.get(leaf, Outcome.PENDING) for leaf in leaves), default=Outcome.FILTERED)

    def at_group(self, group: str, known: Known, final: bool = False) -> Outcome | None:
        """The outcome of an event at a group; None if it never came there.

        Args:
            final: Whether nobody is still to have the event.
        """
        if group in known:
            return known[group]
        if any(over in known for over in groups_over(group, self.path)):
            return None  # the chain of a group further up has ended it
        below = [
            outcome
            for path, outcome in known.items()
            if path.startswith(f"{group}/") and path not in self.groups
        ]
        if not below:
            return None
        return max(below) if final else max(*below, self.worst(known, self.groups.get(group, ())))

    def is_settled(self, known: Known) -> bool:
        """Whether an event is final at every leaf."""
        return self.worst(known, self.leaves) is not Outcome.PENDING


def groups_over(path: str, root: str) -> Iterable[str]:
    """The paths between a router and a path below it."""
    inner = path.removeprefix(f"{root}/").split("/")[:-1]
    return ("/".join([root, *inner[: count + 1]]) for count in range(len(inner)))


def add_change(
    changes: dict[str, dict[str, int]],
    path: str,
    before: Outcome | None,
    after: Outcome | None,
    count: int = 1,
) -> None:
    """Add to the changes of the books what moving events from one outcome to another makes; None:
    they are not there.
    """
    if before is after:
        return
    change = changes.setdefault(path, {})
    for outcome, amount in ((before, -count), (after, count)):
        if outcome is not None:
            name = outcome.name.lower()
            change[name] = change.get(name, 0) + amount
            change["received"] = change.get("received", 0) + amount


def minus(counts: Counts, change: Mapping[str, int]) -> Counts:
    """Take a change off counts. The reasons stay."""
    values: dict[str, Any] = {name: -value for name, value in change.items()}
    return counts + Counts(**values)


def pack_known(known: Known) -> str:
    """Turn outcomes into text for the state."""
    return _pack(tuple(known.items()))


@lru_cache(maxsize=_MAX_SAME)
def _pack(known: tuple[tuple[str, Outcome], ...]) -> str:
    return msgspec.json.encode({path: int(outcome) for path, outcome in known}).decode()


def unpack_known(text: str | None) -> Known:
    """Turn what `pack_known` has made back.

    Equal ones are one object, because a leaf that is down leaves many.
    """
    return _NOTHING if text is None else _unpack(text)


@lru_cache(maxsize=_MAX_SAME)
def _unpack(text: str) -> Known:
    return {path: _ORDER[outcome] for path, outcome in msgspec.json.decode(text).items()}
