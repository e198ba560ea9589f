"""The pauses that destinations asked for, by leaf, as this process knows them."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping

from eventtracking.errors import MAX_PAUSE_S

__all__ = ["Pauses"]


class Pauses:
    """Until when each leaf is to be left alone.

    Messages bring the pauses that other workers were told, by the wall clock.
    """

    def __init__(self) -> None:
        self._until: dict[str, float] = {}

    def note(self, until: Mapping[str, float]) -> None:
        """Remember pauses; of two for one leaf, the later end counts."""
        latest = time.time() + MAX_PAUSE_S  # a forged or wrong clock stops no leaf for longer
        for leaf, end in until.items():
            self._until[leaf] = max(self._until.get(leaf, 0.0), min(end, latest))

    def until(self, leaf: str) -> float:
        """Return when a leaf may be tried again, in seconds since 1970."""
        return self._until.get(leaf, 0.0)

    def held(self, leaves: Collection[str]) -> frozenset[str]:
        """Return the leaves that are paused now."""
        now = time.time()
        return frozenset(leaf for leaf in leaves if self._until.get(leaf, 0.0) > now)
