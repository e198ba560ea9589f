"""Frozen selections of dead letters, in the state: any process freezes, any other one uses them."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Collection
from typing import Final

from eventtracking_buffer.dead_letters import Action
from eventtracking_buffer.disk.state.connection import State, to_words

__all__ = ["freeze", "history", "use"]

_UNUSED_S: Final = 86_400.0
"""How long a selection that nobody uses is kept."""
_KEPT: Final = 200
"""How many used selections are kept, so that people can see who did what."""
_FORGET: Final = (
    "DELETE FROM selections WHERE (used_at IS NULL AND made_at < ?) OR name IN (SELECT name FROM"
    " selections WHERE used_at IS NOT NULL ORDER BY used_at DESC LIMIT -1 OFFSET ?)"
)
_USED: Final = (
    "SELECT what, used_by, used_at, numbers, taken FROM selections WHERE used_at IS NOT NULL"
    " ORDER BY used_at DESC, name LIMIT ?"
)


def freeze(state: State, name: str, numbers: Collection[int], by: str) -> None:
    """Keep a selection."""
    with state.transaction() as connection:
        connection.execute(_FORGET, (time.time() - _UNUSED_S, _KEPT))
        connection.execute(
            "INSERT INTO selections (name, numbers, made_at, made_by) VALUES (?, ?, ?, ?)",
            (name, json.dumps(sorted(numbers)), time.time(), to_words(by)),
        )


def use(
    state: State, name: str, what: str, by: str, target: str | None = None
) -> tuple[list[int], list[int]]:
    """Use a selection up: ask the process that delivers to "replay" or "purge" its letters.

    One transaction marks the selection and its letters: of two processes, one gets them.

    Returns:
        The numbers that it took, and those that it did not; none if it was used before, or never
        made.
    """
    with state.transaction() as connection:
        found = connection.execute(
            "SELECT numbers FROM selections WHERE name = ? AND used_at IS NULL", (name,)
        ).fetchone()
        if found is None:
            return [], []
        numbers: list[int] = json.loads(found[0])
        taken = _take(connection, numbers, what, target)
        connection.execute(
            "UPDATE selections SET what = ?, used_at = ?, used_by = ?, taken = ? WHERE name = ?",
            (what, time.time(), to_words(by), json.dumps(taken), name),
        )
    return taken, sorted(set(numbers) - set(taken))


def _take(
    connection: sqlite3.Connection, numbers: list[int], what: str, target: str | None
) -> list[int]:
    query = "UPDATE dead SET state = ?, target = ? WHERE number = ? AND state = 'dead'"
    return [
        number for number in numbers if connection.execute(query, (what, target, number)).rowcount
    ]


def history(state: State, limit: int) -> list[Action]:
    """Return the last actions, the newest first, and how each stands now."""
    with state.transaction("DEFERRED") as connection:
        used = connection.execute(_USED, (limit,)).fetchall()
        letters = connection.execute("SELECT number, state FROM dead").fetchall()
    replaying = {number: what != "dead" for number, what in letters}
    return [
        Action.of(
            what=what, by=by, at=at,
            numbers=json.loads(numbers), taken=json.loads(taken), replaying=replaying,
        )
        for what, by, at, numbers, taken in used
    ]  # fmt: skip
