"""Dead letters that a process keeps in its memory, as people may see them; none can be replayed
from outside.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from eventtracking import Tracker
from eventtracking.shown import processors_on_the_way, shown
from eventtracking_live.client import connection
from eventtracking_live.folder import living_sockets

__all__ = [
    "MAX_LETTERS",
    "MemoryLetter",
    "letters_at",
    "letters_in_memory",
    "letters_of",
    "selection_for",
]

MAX_LETTERS: Final = 200
"""Letters that one process tells of."""


class MemoryLetter(msgspec.Struct):
    """One dead letter of a living process."""

    pid: int
    router: str
    number: int
    route: str
    reason: str
    attempts: int
    last_at: float
    event: dict[str, Any]
    """As people may see it."""


def letters_at(router: Any) -> Any:
    """Return the `letters` of a router; None if it keeps none."""
    letters = getattr(router, "letters", None)
    return letters if letters is None or hasattr(letters, "freeze") else letters()


def selection_for(method: Callable[..., Any], given: Mapping[str, Any]) -> Any:
    """Make the filter of a router's `letters`, whose type is that of its default."""
    parameter = next(iter(inspect.signature(method).parameters.values()))
    kind = type(parameter.default)
    return given if issubclass(kind, Mapping) else kind(**given)


def letters_of(tracker: Tracker, given: Mapping[str, Any]) -> list[MemoryLetter]:
    """Return the letters of this process alone: those that no store shares."""
    views = {view.path: view for view in tracker.routes()}
    found: list[MemoryLetter] = []
    for path, view in views.items():
        letters = letters_at(view.backend)
        if letters is None or getattr(view.backend.status(), "shared", False):
            continue
        meant = letters.list(selection_for(letters.list, given), limit=MAX_LETTERS - len(found))
        for letter in meant:
            processors = processors_on_the_way(views.values(), letter.route)
            found.append(
                MemoryLetter(
                    os.getpid(), path, letter.number, letter.route, letter.reason,
                    letter.attempts, letter.last_at, shown(letter.event, processors),
                )
            )  # fmt: skip
    return found


def letters_in_memory(folder: Path, given: Mapping[str, Any]) -> Iterator[MemoryLetter]:
    """Ask every process of the folder; one that does not answer is passed over."""
    for path in living_sockets(folder):
        try:
            with connection(path, {"ask": "letters", "letters": given}) as lines:
                yield from msgspec.json.decode(next(lines), type=list[MemoryLetter])
        except (OSError, ValueError, StopIteration):
            continue
