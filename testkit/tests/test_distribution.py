"""`fake_distribution` installs real files for the length of a block."""

from __future__ import annotations

import json
import sys
from typing import Any

import attrs
import importlib_metadata
import pytest

from eventtracking import ConfigError, Event, Tracker
from eventtracking.config.discovery import installed_plugins
from eventtracking_testkit.distribution import fake_distribution
from eventtracking_testkit.fakes import FailingBackend, RecordingBackend, read_recorded

STAMP = """
    import attrs
    from eventtracking import hookimpl

    @attrs.define(eq=False)
    class Stamp:
        def __call__(self, event):
            return event.replace(data={**event.data, "stamped": True})

    @hookimpl
    def eventtracking_register_processors(register):
        register("acme_stamp", Stamp)
"""


@pytest.fixture(autouse=True)
def fresh() -> None:
    """Start with nothing recorded."""
    RecordingBackend.forget()
    FailingBackend.forget()


def test_it_is_found_as_any_distribution() -> None:
    """Its metadata is read by the library that core uses; afterwards nothing of it is left."""
    path, modules = list(sys.path), set(sys.modules)
    with fake_distribution(
        "acme-stamps",
        version="2.5",
        modules={"acme.stamps": STAMP},
        entry_points={"acme_stamp": "acme.stamps"},
    ) as folder:
        assert importlib_metadata.version("acme-stamps") == "2.5"
        loaded = installed_plugins().load("acme_stamp")
        assert (loaded.kind, loaded.distribution, loaded.plugin_class.__module__) == (
            "processor",
            "acme-stamps",
            "acme.stamps",
        )
        assert "acme.stamps" in sys.modules
    assert sys.path == path
    assert not {name for name in set(sys.modules) - modules if name.startswith("acme")}
    assert not folder.exists()
    assert "acme_stamp" not in installed_plugins().names


def test_classes_get_a_name() -> None:
    """Classes that are there already, of a test even, are named in a config; backends and
    processors alike.
    """

    @attrs.define(eq=False)
    class Local:
        def __call__(self, event: Event) -> Event:
            return event.replace(data={"seen": True})

    with fake_distribution(plugins={"recorder": RecordingBackend, "local": Local}):
        node: dict[str, Any] = {
            "plugin": "recorder",
            "key": "k",
            "processors": [{"plugin": "local"}],
        }
        with Tracker.from_config({"backends": {"a": node}}) as tracker:
            tracker.emit("x")
    assert RecordingBackend.recorded["k"][0].data == {"seen": True}
    assert RecordingBackend.calls["k"] == ["open", "flush", "close"]


def test_broken_modules_can_be_had() -> None:
    """A module that raises is installed as it stands, for tests of how that is reported."""
    with (
        fake_distribution(
            "acme-broken", modules={"acme_broken": "1/0"}, entry_points={"broken": "acme_broken"}
        ),
        pytest.raises(ConfigError, match="ZeroDivisionError"),
    ):
        Tracker.from_config({"backends": {"a": {"plugin": "broken"}}})


def test_two_at_once_and_a_module_that_was_there() -> None:
    """Blocks nest; a module of the same name that was imported before is back afterwards."""
    import json

    with fake_distribution(modules={"json": "fake = True"}, plugins={"one": RecordingBackend}):
        import json as shadow

        assert shadow.fake  # type: ignore[attr-defined]  # the fake one has it
        with fake_distribution(plugins={"two": RecordingBackend}):
            assert {"one", "two"} <= set(installed_plugins().names)
    assert sys.modules["json"] is json


def test_a_failing_backend_fails_as_told() -> None:
    """It counts attempts, raises ConnectionError by itself, and does what the test says instead."""
    with fake_distribution(plugins={"failing": FailingBackend}):
        tracker = Tracker.from_config({"backends": {"a": {"plugin": "failing", "key": "k"}}})
    tracker.emit("x")
    FailingBackend.actions["k"] = lambda events: None
    tracker.emit("y")
    counts = tracker.stats()["a"]
    assert (counts.failed, counts.delivered, counts.reasons) == (
        1,
        1,
        {"failed: ConnectionError": 1},
    )
    assert FailingBackend.attempts["k"] == 2
    FailingBackend.forget("k")
    assert "k" not in FailingBackend.attempts


def test_a_recording_backend_writes_for_other_processes(tmp_path: Any) -> None:
    """With a path, each event is a line of a file as well."""
    file = tmp_path / "events.jsonl"
    assert read_recorded(file) == []
    backend = RecordingBackend(path=str(file))
    backend.send([Event(name="a\u2028b"), Event(name="c")])
    backend.send([Event(name="d")])
    assert [document["name"] for document in read_recorded(file)] == ["a\u2028b", "c", "d"]
    file.write_bytes(file.read_bytes()[:-20])  # killed in the middle of the last one
    backend.send([Event(name="e")])
    assert [document["name"] for document in read_recorded(file)] == ["a\u2028b", "c", "e"]
    file.write_bytes(file.read_bytes() + b"{damaged}\n")
    with pytest.raises(json.JSONDecodeError):
        read_recorded(file)
