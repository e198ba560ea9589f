"""The dead letters of a buffer on disk, as a process that uses it sees them."""

from __future__ import annotations

from eventtracking_buffer.dead_letters import DeadLetter, Selection
from eventtracking_buffer.delivery.housekeeper import Housekeeper
from eventtracking_buffer.disk.deliverer import Deliverer
from eventtracking_buffer.disk.state.connection import State
from eventtracking_buffer.disk.state.letters import letters_in, request
from eventtracking_buffer.memory.engine import MemoryEngine

__all__ = ["EngineLetters"]


class EngineLetters:
    """The part of the engine that lists dead letters, and asks for their replay or purge."""

    _deliverer: Deliverer | None
    _fallback: MemoryEngine | None
    _housekeeper: Housekeeper

    def _open_state(self) -> State | None:
        raise NotImplementedError

    def letters(self, selection: Selection) -> list[DeadLetter]:
        """Return dead letters."""
        found = self._housekeeper.call(lambda: self._letters(selection))
        return found + ([] if self._fallback is None else self._fallback.letters(selection))

    def _letters(self, selection: Selection) -> list[DeadLetter]:
        state = self._open_state()
        return [] if state is None else letters_in(state, selection)

    def _ask(self, selection: Selection, wanted: str) -> int:
        state = self._open_state()
        return 0 if state is None else request(state, selection, wanted)

    def replay(self, selection: Selection) -> int:
        """Have the process that delivers deliver dead letters once more."""
        return self._request(selection, "replay")

    def purge(self, selection: Selection) -> int:
        """Have the process that delivers give dead letters up."""
        return self._request(selection, "purge")

    def _request(self, selection: Selection, wanted: str) -> int:
        count = self._housekeeper.call(lambda: self._ask(selection, wanted))
        if self._deliverer is not None:
            self._deliverer.asked()
        self._housekeeper.wake()
        if self._fallback is not None:
            ask = self._fallback.replay if wanted == "replay" else self._fallback.purge
            count += ask(selection)
        return count
