"""The pages, asked in this process."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from eventtracking import Event
from eventtracking_console.web import console_app
from eventtracking_sqlite.backend import SqliteBackend
from eventtracking_testkit.services.fixtures import RunningService

pytestmark = pytest.mark.needs("sqlite", "mongo")

START = datetime(2026, 1, 1, tzinfo=timezone.utc)
Ask = Callable[..., tuple[int, str, dict[str, str]]]


def events(count: int) -> list[Event]:
    return [
        Event(
            name=f"edx.{'even' if n % 2 == 0 else 'odd'}",
            timestamp=START + timedelta(minutes=n),
            context={"user_id": n % 3},
            data={"n": n},
        )
        for n in range(count)
    ]


def found(text: str) -> list[int]:
    """Read the numbers of the events on a page."""
    parts = text.split("&#34;n&#34;: ")[1:]
    return [int(part.split("\n")[0]) for part in parts]


@pytest.fixture
def store(tmp_path: Path) -> Any:
    """A console over a store of 60 events."""
    path = str(tmp_path / "events.db")
    backend = SqliteBackend(path=path)
    backend.open()
    backend.send(events(60))
    backend.close()
    return console_app({"backends": {"store": {"plugin": "sqlite", "path": path}}})


def test_a_search_by_each_field(store: Any, ask: Ask) -> None:
    """By name, time and context; a field that cannot be read is named."""
    page = "/events/search?route=store&"
    assert found(ask(store, f"{page}name=edx.odd&since=2026-01-01T00:57")[1]) == [59, 57]
    between = "since=2026-01-01T00:10:00&until=2026-01-01T00:13:00Z"
    assert found(ask(store, page + between)[1]) == [12, 11, 10]
    assert found(ask(store, f"{page}context=user_id%3D2&until=2026-01-01T00:06")[1]) == [5, 2]
    for query, told in (
        ("since=monday", "since: &#39;monday&#39; is no time"),
        ("until=0", "until: &#39;0&#39; is no time"),
        ("context=user", "is not PATH=VALUE"),
    ):
        status, text, _ = ask(store, page + query)
        assert (status, told in text) == (200, True)


def test_a_search_goes_on_to_older_events(store: Any, ask: Ask) -> None:
    """The link of the first page leads to the rest, by the same filters."""
    _, text, _ = ask(store, "/events/search?route=store&context=")
    assert found(text) == list(range(59, 9, -1))
    link = text.split('<a href="/events/search?route=store')[1].split('"')[0]
    _, text, _ = ask(store, f"/events/search?route=store{link.replace('&amp;', '&')}")
    assert found(text) == list(range(9, -1, -1))
    assert "Older events" not in text


def test_a_search_in_mongodb(mongo_server: RunningService, ask: Ask) -> None:
    """By the same form; a server that does not answer is told in words."""
    from eventtracking_mongo.backend import MongoBackend

    node = {"plugin": "mongo", "uri": mongo_server.uri, "database": "console_search"}
    backend = MongoBackend(uri=mongo_server.uri, database="console_search")
    backend.open()
    backend.send(events(3))
    backend.close()
    app = console_app({"backends": {"archive": node}})
    assert found(ask(app, "/events/search?route=archive&name=edx.e*")[1]) == [2, 0]
    away = {"plugin": "mongo", "uri": "mongodb://127.0.0.1:9", "timeout_s": 0.2}
    status, text, _ = ask(console_app({"backends": {"away": away}}), "/events/search?route=away")
    assert status == 503
    assert "MongoDB at 127.0.0.1:9" in text
