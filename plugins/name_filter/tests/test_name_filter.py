"""The plugin `name_filter`."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import pytest

from eventtracking import ConfigError, DropEvent, Event, Tracker
from eventtracking.config import load_file
from eventtracking_name_filter.processor import NameFilter

pytestmark = pytest.mark.needs("logger")

README = Path(__file__).parent.parent / "README.md"


def chain(**options: Any) -> dict[str, Any]:
    """A config with one logger behind one filter."""
    processor = {"plugin": "name_filter", **options}
    return {
        "backends": {"log": {"plugin": "logger", "name": "filtered", "processors": [processor]}}
    }


def names_that_pass(
    caplog: pytest.LogCaptureFixture, config: dict[str, Any], *names: str
) -> list[str]:
    """Emit one event of each name; return the names of those that reached the logger."""
    caplog.clear()
    with caplog.at_level(logging.INFO, "filtered"), Tracker.from_config(config) as tracker:
        for name in names:
            tracker.emit(name)
        assert tracker.stats()["log"].balanced
    return [
        re.findall(r'"name":"([^"]*)"', record.getMessage())[0]
        for record in caplog.records
        if record.name == "filtered"
    ]


def test_an_allowlist_keeps_what_it_names(caplog: pytest.LogCaptureFixture) -> None:
    """Only events whose whole name is listed pass; a longer name and another case do not."""
    assert names_that_pass(caplog, chain(names=["a.b"]), "a.b", "a.b.c", "A.B", "a") == ["a.b"]


def test_a_blocklist_drops_what_it_names(caplog: pytest.LogCaptureFixture) -> None:
    """Everything passes but the listed names."""
    assert names_that_pass(
        caplog, chain(names=["a.b"], filter_type="blocklist"), "a.b", "a.b.c"
    ) == ["a.b.c"]


def test_empty_lists(caplog: pytest.LogCaptureFixture) -> None:
    """An empty allowlist drops everything, an empty blocklist nothing."""
    assert names_that_pass(caplog, chain(names=[]), "a") == []
    assert names_that_pass(caplog, chain(names=[], filter_type="blocklist"), "a") == ["a"]


def test_what_it_drops_is_counted_as_filtered() -> None:
    """The route counts a dropped event as filtered, with the processor as the reason."""
    with Tracker.from_config(chain(names=["x"])) as tracker:
        tracker.emit("y")
        counts = tracker.stats()["log"]
    assert (counts.received, counts.filtered) == (1, 1)
    assert counts.reasons == {"filtered: name_filter: the name is not accepted": 1}


def test_a_call_and_accepts_agree() -> None:
    """Called with an event, it decides as `accepts` does."""
    kept, dropped = Event(name="a"), Event(name="b")
    processor = NameFilter(names=["a"])
    assert processor(kept) is kept
    with pytest.raises(DropEvent, match="the name is not accepted"):
        processor(dropped)


def test_options_reject_nonsense() -> None:
    """Every wrong option is reported at once, with its place."""
    with pytest.raises(ConfigError) as caught:
        Tracker.from_config(chain(names="a.b", filter_type="whitelist", whitelist=[]))
    assert [problem.path for problem in caught.value.problems] == [
        "backends.log.processors[0].whitelist",
        "backends.log.processors[0].names",
        "backends.log.processors[0].filter_type",
    ]


def test_the_readme_config_runs(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    """The config of the README, as it stands, passes what it names."""
    block = re.search(r"```toml\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert block is not None
    config = tmp_path / "config.toml"
    config.write_text(block[1], encoding="utf-8")
    with (
        caplog.at_level(logging.INFO, "tracking"),
        Tracker.from_config(load_file(config)) as tracker,
    ):
        tracker.emit("edx.bookmark.added")
        tracker.emit("edx.bookmark.removed")
    assert [record.name for record in caplog.records if record.name == "tracking"] == ["tracking"]


def test_own_names_pass_an_allowlist() -> None:
    """Records of event types pass, unless a blocklist names them."""
    own = "eventtracking.event_type"
    assert NameFilter(names=["x"]).accepts(own)
    assert not NameFilter(names=[own], filter_type="blocklist").accepts(own)
    assert NameFilter(names=["x"], filter_type="blocklist").accepts(own)
    assert not NameFilter(names=["x"]).accepts("eventtracking")
