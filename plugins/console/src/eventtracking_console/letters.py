"""Dead letters: listed, frozen into a selection, replayed once."""

from __future__ import annotations

import inspect
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import attrs
import msgspec

from eventtracking import Tracker
from eventtracking.shown import processors_on_the_way, shown
from eventtracking_live.letters import letters_at, selection_for

__all__ = ["Filter", "Frozen", "LetterBox", "Replay"]

_log = logging.getLogger("eventtracking.console")
_REPLAY_LIMIT_S: Final = 120.0
_POLL_S: Final = 0.2
_HISTORY: Final = 20
"""Actions that a page shows."""


class Filter(msgspec.Struct, forbid_unknown_fields=True):
    """The dead letters that are meant; an empty field matches all."""

    route: str = ""
    name: str = ""
    reason: str = ""
    older_than_s: str = ""

    def given(self) -> dict[str, Any]:
        """Return the fields that are not empty."""
        found: dict[str, Any] = {
            key: value
            for key in ("route", "name", "reason")
            if (value := getattr(self, key).strip())
        }
        if self.older_than_s.strip():
            found["older_than_s"] = float(self.older_than_s)
        return found


@attrs.frozen
class Frozen:
    """A selection: a list of letters, kept in the store of one router."""

    router: str
    selection: str
    count: int
    replaying: tuple[int, ...]
    """The letters that are meant, too, and are left out: they are being replayed already."""


@attrs.frozen
class Replay:
    """A replay or purge that was asked for, in the store of one router."""

    router: str
    action: Any
    """With `what`, `by`, `at`, `count`, `skipped`, `waiting` and `failed`."""


@attrs.define(eq=False)
class LetterBox:
    """The dead letters of every router that keeps some."""

    tracker: Tracker
    """Made from the config; never opened."""
    deliver: Callable[[], Tracker]
    """Makes a tracker that may be opened, to deliver where no process does."""

    def boxes(self) -> dict[str, Any]:
        """Return the `letters` of each router, by its path."""
        found = {view.path: letters_at(view.backend) for view in self.tracker.routes()}
        return {path: letters for path, letters in found.items() if letters is not None}

    def find(self, wanted: Filter, limit: int) -> list[tuple[str, Any]]:
        """Return dead letters with the paths of their routers."""
        found: list[tuple[str, Any]] = []
        for path, letters in self.boxes().items():
            meant = letters.list(
                selection_for(letters.list, wanted.given()), limit=limit - len(found)
            )
            found += [(path, letter) for letter in meant]
        return found

    def get(self, router: str, number: int) -> Any:
        """Return one dead letter; None if it is there no more."""
        letters = self.boxes().get(router)
        return None if letters is None else letters.get(number)

    def shown(self, letter: Any) -> dict[str, Any]:
        """Return a letter's event as people may see it."""
        return shown(letter.event, processors_on_the_way(self.tracker.routes(), letter.route))

    def freeze(self, wanted: Filter, who: str) -> list[Frozen]:
        """Freeze the letters that are meant now, in each router's store: none joins later."""
        frozen = []
        for path, letters in self.boxes().items():
            meant = selection_for(letters.freeze, wanted.given())
            replaying = tuple(one.number for one in letters.list(meant) if one.replaying)
            selection, count = letters.freeze(meant, **_by(letters.freeze, who))
            if count or replaying:
                frozen.append(Frozen(path, selection, count, replaying))
        return frozen

    def replay(self, router: str, selection: str, who: str) -> int:
        """Have a frozen selection delivered once more. Return how many letters.

        Where no process delivers, a thread of this one does, until they are through.
        """
        letters = self.boxes()[router]
        count: int = letters.replay(selection, **_by(letters.replay, who))
        _log.warning("%s asked to replay %d dead letters of route %r", who, count, router)
        view = next(view for view in self.tracker.routes() if view.path == router)
        status = view.backend.status()
        if count and getattr(status, "delivered_by", None) is None:
            threading.Thread(target=self._deliver, args=(letters,), daemon=True).start()
        return count

    def history(self) -> list[Replay]:
        """Return the last replays and purges, newest first, and how each went so far."""
        found = [
            Replay(path, action)
            for path, letters in self.boxes().items()
            if hasattr(letters, "history")
            for action in letters.history(_HISTORY)
        ]
        return sorted(found, key=lambda one: -one.action.at)[:_HISTORY]

    def _deliver(self, letters: Any) -> None:
        """Be the process that delivers, until no letter is being replayed."""
        deadline = time.monotonic() + _REPLAY_LIMIT_S
        with self.deliver() as tracker:
            tracker.open()
            while time.monotonic() < deadline and any(one.replaying for one in letters.list()):
                time.sleep(_POLL_S)


def _by(method: Callable[..., Any], who: str) -> dict[str, str]:
    """Pass who asks, to a router that keeps it."""
    return {"by": who} if "by" in inspect.signature(method).parameters else {}


def reasons(letters: list[tuple[str, Any]]) -> Iterator[tuple[str, str, int]]:
    """Count letters by route and reason, most frequent first."""
    counts: dict[tuple[str, str], int] = {}
    for _, letter in letters:
        key = (letter.route, letter.reason)
        counts[key] = counts.get(key, 0) + 1
    for (route, reason), count in sorted(counts.items(), key=lambda item: -item[1]):
        yield route, reason, count
