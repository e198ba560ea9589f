"""Dead letters on disk, as any process can read them and leave requests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from eventtracking import Event
from eventtracking_buffer import codec
from eventtracking_buffer.dead_letters import DeadLetter, Selection
from eventtracking_buffer.disk.state.connection import State, to_id

__all__ = ["letters_in", "request", "retire"]

_QUERY: Final = (
    "SELECT number, leaf, payload, reason, attempts, first_at, last_at, state, event_id, name FROM"
    " dead ORDER BY number"
)


def letters_in(state: State, selection: Selection) -> list[DeadLetter]:
    """Return the dead letters that are meant, oldest first."""
    return [letter for letter in _read(state) if selection.matches(letter)]


def _read(state: State) -> Iterator[DeadLetter]:
    for row in state.rows(_QUERY):
        yield _letter(row)


def _letter(row: tuple[Any, ...]) -> DeadLetter:
    number, leaf, payload, reason, attempts, first_at, last_at, what, event_id, name = row
    try:
        event = codec.decode(payload)
    except codec.FormatError as error:  # it is there, and can be purged; a replay fails it
        event = Event(id=to_id(event_id), name=name, data={"unreadable": str(error)})
        reason = f"{reason} ({error})"
    return DeadLetter(
        number=number,
        route=leaf,
        event=event,
        reason=reason,
        attempts=attempts,
        first_at=first_at,
        last_at=last_at,
        replaying=what != "dead",
    )


def request(state: State, selection: Selection, wanted: str, target: str | None = None) -> int:
    """Ask the process that delivers to "replay" or "purge" dead letters; return how many.

    Args:
        target: The leaf to replay them to; None: the one where each died.
    """
    numbers = [letter.number for letter in letters_in(state, selection) if not letter.replaying]
    with state.transaction() as connection:
        cursor = connection.executemany(
            "UPDATE dead SET state = ?, target = ? WHERE number = ? AND state = 'dead'",
            [(wanted, target, number) for number in numbers],
        )
    return max(cursor.rowcount, 0)


def retire(state: State, route: str) -> int:
    """Ask for dead letters of what waits for a route that the config lost; return how many."""
    with state.transaction() as connection:
        query = "SELECT count(*) FROM retries WHERE leaf = ? OR substr(leaf, 1, ?) = ?"
        count = connection.execute(query, (route, len(route) + 1, f"{route}/")).fetchone()[0]
        connection.execute("INSERT INTO requests (kind, route) VALUES ('retire', ?)", (route,))
    return int(count)
