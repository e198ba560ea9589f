"""Searching stored events, beside the process that writes them."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from eventtracking import DeliveryError, Event
from eventtracking_sqlite.backend import SqliteBackend

START = datetime(2026, 1, 1, tzinfo=timezone.utc)


@pytest.fixture
def store(tmp_path: Path) -> SqliteBackend:
    """Ten events, a minute apart; written by one backend, read by another that is not open."""
    path = str(tmp_path / 'an "odd" %20 name.db')
    writer = SqliteBackend(path=path)
    writer.open()
    writer.send(
        [
            Event(
                id=f"id{n}",
                name="even.x" if n % 2 == 0 else "odd_x",
                timestamp=START + timedelta(minutes=n),
                context={"user": {"id": n % 3}, "host": "h"},
                data={"n": n},
                extra={"more": n},
            )
            for n in range(10)
        ]
    )
    writer.close()
    return SqliteBackend(path=path)


def numbers(found: list[Event]) -> list[int]:
    return [event.data["n"] for event in found]


def test_the_newest_come_first_and_whole(store: SqliteBackend) -> None:
    """With the extra keys; the limit holds."""
    found = store.search(limit=2)
    assert numbers(found) == [9, 8]
    assert found[0].extra == {"more": 9}
    assert found[0].timestamp == START + timedelta(minutes=9)


def test_each_filter_counts(store: SqliteBackend) -> None:
    """By name, by its beginning without patterns of SQL, by time and context."""
    assert numbers(store.search(name="even.x")) == [8, 6, 4, 2, 0]
    assert numbers(store.search(name="odd*")) == [9, 7, 5, 3, 1]
    assert numbers(store.search(name="%*")) == []
    since, until = START + timedelta(minutes=2), START + timedelta(minutes=5)
    assert numbers(store.search(since=since, until=until)) == [4, 3, 2]
    assert numbers(store.search(context={"user.id": 0, "host": "h"})) == [9, 6, 3, 0]
    assert numbers(store.search(context={'x" or 1': 0})) == []


def test_pages_follow_each_other(store: SqliteBackend) -> None:
    """From the last event of the page before."""
    first = store.search(limit=4)
    assert numbers(store.search(after=first[-1].id, limit=4)) == [5, 4, 3, 2]
    assert numbers(store.search(name="even.x", after="id4")) == [2, 0]


def test_without_a_file_nothing_is_found_or_made(tmp_path: Path) -> None:
    """And a file that is none is told in words."""
    path = tmp_path / "no.db"
    assert SqliteBackend(path=str(path)).search() == []
    assert not path.exists()
    path.write_text("no database" * 100)
    with pytest.raises(DeliveryError, match="not a database"):
        SqliteBackend(path=str(path)).search()
