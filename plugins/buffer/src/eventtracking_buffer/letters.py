"""The dead letters of a buffer, for people and tools that watch it."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from eventtracking_buffer.dead_letters import DeadLetter, Selection

if TYPE_CHECKING:
    from eventtracking_buffer.router import BufferRouter

__all__ = ["Letters"]

_ALL = Selection()
_frozen: dict[str, Selection] = {}


class Letters:
    """Lists, replays and purges dead letters, of a buffer in this process or of its folder.

    A replay or purge takes the letters that `freeze` has counted, and no later ones.

    Example:
        >>> selection, count = router.letters.freeze(Selection(name="edx.*"))  # doctest: +SKIP
        >>> router.letters.replay(selection)  # doctest: +SKIP
    """

    def __init__(self, router: BufferRouter) -> None:
        self._router = router

    def list(
        self, selection: Selection = _ALL, after: int = 0, limit: int | None = None
    ) -> list[DeadLetter]:
        """Return the dead letters that are meant, oldest first.

        Args:
            after: Only those with a greater number.
            limit: At most so many.
        """
        found = [x for x in self._router.stored_letters(selection) if x.number > after]
        return found[:limit]

    def get(self, number: int) -> DeadLetter | None:
        """Return one dead letter; None if it is there no more."""
        return next(iter(self.list(Selection(numbers=frozenset([number])))), None)

    def freeze(self, selection: Selection = _ALL) -> tuple[str, int]:
        """Remember which dead letters are meant now; return a name for them, and how many."""
        numbers = frozenset(x.number for x in self.list(selection) if not x.replaying)
        name = uuid.uuid4().hex
        _frozen[name] = Selection(numbers=numbers)
        return name, len(numbers)

    def replay(self, selection: str) -> int:
        """Have frozen dead letters delivered once more; return how many.

        Each stays a dead letter until it has arrived: a replay into a destination that is down
        changes nothing.
        """
        return self._router.request(_frozen.pop(selection, _NONE), "replay")

    def purge(self, selection: str) -> int:
        """Give frozen dead letters up: they count as failed. Return how many."""
        return self._router.request(_frozen.pop(selection, _NONE), "purge")


_NONE = Selection(numbers=frozenset())
