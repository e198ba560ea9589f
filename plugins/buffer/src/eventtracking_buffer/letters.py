"""The dead letters of a buffer, for people and tools that watch it."""

from __future__ import annotations

import time
import uuid
from collections import deque
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

import attrs

from eventtracking_buffer.dead_letters import Action, DeadLetter, Selection, Wanted

if TYPE_CHECKING:
    from eventtracking_buffer.router import BufferRouter

__all__ = ["Letters"]

_ALL: Final = Selection()
_KEPT: Final = 200


class Letters:
    """Lists, replays and purges dead letters, of a buffer in this process or of its folder.

    A replay or purge takes the letters that `freeze` has counted, and no later ones. A buffer on
    disk keeps the selection beside its letters: any process may use it, and only one does.

    Example:
        >>> selection, count = router.letters.freeze(Selection(name="edx.*"))  # doctest: +SKIP
        >>> router.letters.replay(selection, by="ada")  # doctest: +SKIP
        >>> router.letters.history()[0].failed  # doctest: +SKIP
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

    def freeze(self, selection: Selection = _ALL, by: str = "") -> tuple[str, int]:
        """Remember which dead letters are meant now; return a name for them, and how many.

        Letters that are being replayed already are left out.

        Args:
            by: Who asks, for `history`.
        """
        numbers = frozenset(x.number for x in self.list(selection) if not x.replaying)
        name = uuid.uuid4().hex
        if not self._router.from_outside(lambda buffer: buffer.freeze(name, numbers, by)):
            self._in_memory.frozen[name] = numbers
        return name, len(numbers)

    def replay(self, selection: str, by: str = "") -> int:
        """Have frozen dead letters delivered once more; return how many.

        Each stays a dead letter until it has arrived: a replay into a destination that is down
        changes nothing.
        """
        return self._use(selection, "replay", by)

    def purge(self, selection: str, by: str = "") -> int:
        """Give frozen dead letters up: they count as failed. Return how many."""
        return self._use(selection, "purge", by)

    def history(self, limit: int = 20) -> Sequence[Action]:
        """Return the last replays and purges of frozen letters, newest first, as they stand now."""
        found = self._router.from_outside(lambda buffer: buffer.history(limit)) or []
        replaying = {letter.number: letter.replaying for letter in self.list()}
        found += [one.action(replaying) for one in self._in_memory.used]
        return sorted(found, key=lambda action: -action.at)[:limit]

    @property
    def _in_memory(self) -> _Selections:
        return _memory.setdefault(self._router, _Selections())

    def _use(self, name: str, what: Wanted, by: str) -> int:
        numbers = self._in_memory.frozen.pop(name, None)
        if numbers is not None:
            return self._use_in_memory(numbers, what, by)
        asked = self._router.from_outside(lambda buffer: buffer.use(name, what, by))
        taken, others = asked or ((), ())
        # It wakes the engine of this process, which has letters of its own where the disk failed.
        return len(taken) + (self._router.request(_of(others), what) if taken or others else 0)

    def _use_in_memory(self, numbers: Collection[int], what: Wanted, by: str) -> int:
        taken = frozenset(x.number for x in self.list(_of(numbers)) if not x.replaying)
        self._in_memory.used.appendleft(_Used(what, by, time.time(), numbers, taken))
        return self._router.request(_of(taken), what)


def _of(numbers: Collection[int]) -> Selection:
    return Selection(numbers=frozenset(numbers))


@attrs.frozen
class _Used:
    what: str
    by: str
    at: float
    numbers: Collection[int]
    taken: Collection[int]

    def action(self, replaying: dict[int, bool]) -> Action:
        return Action.of(
            what=self.what, by=self.by, at=self.at,
            numbers=self.numbers, taken=self.taken, replaying=replaying,
        )  # fmt: skip


@attrs.define
class _Selections:
    """The selections of a buffer in memory, which end with their process as its letters do."""

    frozen: dict[str, Collection[int]] = attrs.field(factory=dict)
    used: deque[_Used] = attrs.field(factory=lambda: deque(maxlen=_KEPT))


_memory: WeakKeyDictionary[BufferRouter, _Selections] = WeakKeyDictionary()
