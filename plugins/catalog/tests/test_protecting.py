"""Redaction in a whole tree: through retries, dead letters and replay, and with broken values."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import attrs
import pytest

from eventtracking import ConfigError, Event, Rejected, Tracker
from eventtracking_catalog import register
from eventtracking_testkit.distribution import fake_distribution

pytestmark = pytest.mark.needs("buffer", "sqlite", "cli")

SECRET = "bob@example.com"
FIELDS: dict[str, Any] = {
    "course": {"type": "str", "pii": "none"},
    "count": {"type": "int", "pii": "none"},
    "mail": {"type": "str", "pii": "email"},
}


@attrs.define(eq=False)
class Refusing:
    """Fail twice, refuse the third time, and take all later events."""

    seen: ClassVar[list[Event]] = []
    calls: ClassVar[list[int]] = []

    def send(self, events: Sequence[Event]) -> None:
        self.seen.extend(events)
        self.calls.append(len(events))
        if len(self.calls) <= 2:
            raise OSError("not now")
        if len(self.calls) == 3:
            raise Rejected({event.id: "not that" for event in events})


def behind_a_buffer(folder: Path, backend: dict[str, Any]) -> dict[str, Any]:
    return {
        "backends": {
            "durable": {
                "plugin": "buffer",
                "storage": "disk",
                "path": str(folder / "buffer"),
                "retry_base_s": 0.01,
                "backends": {"there": {"processors": [{"plugin": "redact"}], **backend}},
            }
        }
    }


def test_retries_and_dead_letters(tmp_path: Path) -> None:
    """Each try is redacted anew, and so is the replay of a dead letter."""
    register("protected.one", "x", FIELDS)
    Refusing.seen.clear()
    Refusing.calls.clear()
    config = behind_a_buffer(tmp_path, {"plugin": "refusing"})
    with fake_distribution(plugins={"refusing": Refusing}), Tracker.from_config(config) as tracker:
        with tracker.context({"mail": SECRET}):
            tracker.emit("protected.one", {"course": "botany", "count": 1, "mail": SECRET})
        assert tracker.flush(30)
        assert tracker.stats()["durable/there"].dead_lettered == 1
        tracker.emit("protected.one", {"course": SECRET.encode(), "count": [SECRET]})
        tracker.emit("protected.one", {"course": "botany", "count": object(), SECRET: 1})
        assert tracker.flush(30)
        assert len(Refusing.seen) >= 5
        for event in Refusing.seen:
            assert SECRET not in event.to_json()
            assert event.context == {}
        assert all(counts.balanced for counts in tracker.stats().values())


@pytest.mark.timeout(180)
@pytest.mark.process
def test_events_without_a_declaration_are_kept_aside(tmp_path: Path) -> None:
    """They are dead letters until they are declared; a replay passes the processor again."""
    file = tmp_path / "declared.json"
    file.write_text("{}")
    store = {"plugin": "sqlite", "path": str(tmp_path / "store.db")}
    config = behind_a_buffer(tmp_path, store)
    there = config["backends"]["durable"]["backends"]["there"]
    there["processors"] = [{"plugin": "redact", "files": [str(file)]}]
    with Tracker.from_config(config) as tracker:
        tracker.emit("protected.later", {"course": "botany", "mail": SECRET})
        assert tracker.flush(30)
        assert tracker.stats()["durable/there"].dead_lettered == 1
    file.write_text(json.dumps({"events": {"protected.later": {"fields": FIELDS}}}))
    (tmp_path / "config.json").write_text(json.dumps(config))
    letters = [sys.executable, "-m", "eventtracking_cli", "dead-letters"]
    where = ["-c", str(tmp_path / "config.json")]
    seen = subprocess.run([*letters, "show", "1", *where], capture_output=True, check=True).stdout
    assert b"botany" in seen
    assert SECRET.encode() not in seen
    subprocess.run([*letters, "replay", *where], capture_output=True, check=True)
    with Tracker.from_config(config) as tracker:
        assert tracker.flush(30)
        assert tracker.stats()["durable/there"].dead_lettered == 0
    stored = (tmp_path / "store.db").read_bytes()
    assert b"botany" in stored
    assert SECRET.encode() not in stored


def test_it_is_never_passed_over() -> None:
    """`on_error = "pass"` is a problem of the config."""
    node = {"plugin": "redact", "on_error": "pass"}
    with pytest.raises(ConfigError, match="redact"):
        Tracker.from_config({"processors": [node], "backends": {}})
