"""The catalog's pages: event types with their rates, when each was last seen, and by whom."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from eventtracking import Event, Tracker
from eventtracking_console.catalog import Catalog
from eventtracking_console.web import console_app

pytestmark = pytest.mark.needs("catalog", "sqlite")

Ask = Callable[..., tuple[int, str, dict[str, str]]]
NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
DECLARED = """
[events."page.enrolled"]
description = "A <b>learner</b> enrolled."
owner = "learning"
version = "2"
fields.course = { type = "str", description = "The course.", pii = "none", example = "<i>x</i>" }
fields.author = { fields = { id = "int" }, required = false }

[events."page.left".fields]
reason = "str"

[contexts.page_user]
description = "The account."
fields.user_id = { type = "int", pii = "id" }
"""


@pytest.fixture
def config(tmp_path: Path) -> dict[str, Any]:
    """A store with a search, and one without."""
    file = tmp_path / "declared.toml"
    file.write_text(DECLARED)
    return {
        "processors": [{"plugin": "catalog", "files": [str(file)]}],
        "backends": {"store": {"plugin": "sqlite", "path": str(tmp_path / "events.db")}},
    }


def test_rates_and_last_seen(config: dict[str, Any]) -> None:
    """From the newest hundred events of a type; one event alone has no rate."""
    with Tracker.from_config(config) as tracker:
        for number in range(130):
            moment = NOON - timedelta(seconds=number)
            tracker.submit(Event(name="page.enrolled", timestamp=moment, data={"course": "x"}))
        tracker.submit(Event(name="page.left", timestamp=NOON, data={"reason": "x"}))
        tracker.submit(Event(name="page.enrolled.later", timestamp=NOON, data={}))
    catalog = Catalog(Tracker.from_config(config))
    catalog._clock = (NOON + timedelta(seconds=99)).timestamp
    seen = catalog.seen("page.enrolled")
    assert seen is not None
    assert (seen.last, seen.rate) == (NOON, "30.0 / min")
    alone = catalog.seen("page.left")
    assert alone is not None
    assert (alone.last, alone.rate) == (NOON, "")
    assert catalog.seen("page.never") is None
    catalog._clock = (NOON + timedelta(days=200)).timestamp
    seen = catalog.seen("page.enrolled")
    assert seen is not None
    assert seen.rate == "0.5 / day"


def test_the_pages_of_the_catalog(config: dict[str, Any], ask: Ask) -> None:
    """A list that can be searched, and a page of each type with its versions; all is escaped."""
    with Tracker.from_config(config) as tracker:
        tracker.emit("page.enrolled", {"course": "botany"})
    app = console_app(config, prefix="/c")
    status, text, headers = ask(app, "/catalog/")
    assert status == 200
    assert headers["content-security-policy"].startswith("default-src 'self'")
    assert 'aria-current="page">Catalog<' in text
    assert 'href="/c/catalog/one?name=page.enrolled"' in text
    assert "A &lt;b&gt;learner&lt;/b&gt; enrolled." in text
    assert re.search(r'<td class="moment">\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC</td>', text)
    assert '<td class="moment">-</td>' in text  # of the type that was never emitted
    assert "page.left" not in ask(app, "/catalog/?words=learning+author.id")[1]
    assert "Nothing found" in ask(app, "/catalog/?words=nothing")[1]
    _, text, _ = ask(app, "/catalog/one?name=page.enrolled")
    for part in ("page.enrolled@", "author.id", "store</dd>", "documented since", "The course."):
        assert part in text
    assert re.search(r"emitted by [a-z_.]*test_catalog:\d+", text)
    assert "&lt;i&gt;x&lt;/i&gt;" in text
    assert "<i>" not in text
    assert "never, in a store" in ask(app, "/catalog/one?name=page.left")[1]
    _, text, _ = ask(app, "/catalog/one?name=page_user&kind=context")
    assert "page_user (context)" in text
    assert "PII: id" in text
    assert ask(app, "/catalog/one?name=nothing")[0] == 404


@pytest.mark.needs("logger")
def test_a_store_that_is_away(config: dict[str, Any], ask: Ask, tmp_path: Path) -> None:
    """The pages come without rates; without any search they say so."""
    app = console_app(config)
    (tmp_path / "events.db").write_text("no database" * 100)
    assert '<td class="moment">-</td>' in ask(app, "/catalog/")[1]
    assert "never, in a store" in ask(app, "/catalog/one?name=page.enrolled")[1]
    config["backends"]["store"] = {"plugin": "logger"}
    assert "No store of this config offers a search" in ask(console_app(config), "/catalog/")[1]
