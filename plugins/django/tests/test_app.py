"""The app: the default tracker from the settings, system checks, the test helper, the management
command.
"""

from __future__ import annotations

import json
import logging
import unittest
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.core.management import CommandError, call_command
from django.test import SimpleTestCase, override_settings

from eventtracking import DataError, EventLossWarning, tracker
from eventtracking_django.checks import check_settings
from eventtracking_django.testing import CaptureEventsMixin, capture_events
from eventtracking_django.tracker import DjangoTracker

pytestmark = pytest.mark.needs("cli", "logger", "sqlite")

LOG: dict[str, Any] = {"plugin": "logger", "name": "tests.tracking"}


def messages() -> dict[str, list[str]]:
    """What the system checks say, by id."""
    found: dict[str, list[str]] = {}
    for message in check_settings():
        found.setdefault(str(message.id), []).append(message.msg)
    return found


def lines_of(caplog: pytest.LogCaptureFixture, logger: str) -> list[str]:
    """The names of the events that were written to a logger."""
    return [
        json.loads(record.getMessage())["name"]
        for record in caplog.records
        if record.name == logger
    ]


def test_the_default_tracker_has_the_settings_config(caplog: pytest.LogCaptureFixture) -> None:
    """An emit goes where `EVENT_TRACKING` says."""
    with caplog.at_level(logging.INFO, "tests.tracking"):
        tracker.emit("a")
    assert lines_of(caplog, "tests.tracking") == ["a"]
    assert isinstance(tracker.get_tracker(), DjangoTracker)
    assert apps.get_app_config("eventtracking_django").name == "eventtracking_django"


def test_the_config_may_be_a_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """`EVENT_TRACKING` may be the path of a TOML file."""
    path = tmp_path / "events.toml"
    path.write_text('[backends.log]\nplugin = "logger"\nname = "from.file"\n', encoding="utf-8")
    with override_settings(EVENT_TRACKING=path), caplog.at_level(logging.INFO, "from.file"):
        tracker.emit("a")
        assert messages() == {}
    assert lines_of(caplog, "from.file") == ["a"]


def test_disabled_is_a_counted_no_op() -> None:
    """With `EVENT_TRACKING_ENABLED = False` emits do nothing, raise nothing, and are counted."""
    with override_settings(
        EVENT_TRACKING_ENABLED=False, EVENT_TRACKING={"backends": {"x": {"plugin": "nonsense"}}}
    ):
        tracker.emit("a")
        counts = tracker.get_tracker().stats()[""]
        assert messages() == {}
    assert (counts.received, counts.filtered, counts.reasons) == (
        1,
        1,
        {"filtered: tracking is disabled": 1},
    )


def test_every_problem_is_a_system_check(caplog: pytest.LogCaptureFixture) -> None:
    """Each problem of the config is an error of its own, with its path; the application starts, and
    says so.
    """
    broken = {"backends": {"a": {"plugin": "loger"}, "b": {**LOG, "levle": "info"}}, "contxt": {}}
    with override_settings(EVENT_TRACKING=broken):
        found = messages()
        with pytest.warns(EventLossWarning, match="manage.py check"):
            tracker.emit("a")
        assert tracker.get_tracker().stats()[""].failed == 1
    assert list(found) == ["eventtracking.E001"]
    assert [text.split(":")[0] for text in found["eventtracking.E001"]] == [
        "contxt",
        "backends.a.plugin",
        "backends.b.levle",
    ]
    logged = [
        record.getMessage() for record in caplog.records if record.name == "eventtracking.django"
    ]
    places = ("contxt", "backends.a.plugin", "backends.b.levle")
    assert [line.split(": ")[1] for line in logged] == list(places)
    assert all(line.startswith("events are not captured: ") for line in logged)


def test_a_missing_setting_is_a_problem() -> None:
    """Without `EVENT_TRACKING` the checks say what to set."""
    with override_settings(EVENT_TRACKING=None):
        assert "the setting is missing" in messages()["eventtracking.E001"][0]


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (5, "a value of type int"),
        (["secret"], "a value of type list"),
        (b"secret", "a value of type bytes"),
        ("", "an empty text"),
        (Path(), None),
    ],
)
def test_a_setting_that_is_no_config(
    value: Any, found: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    """What is neither a dict nor the path of a file is a system check, and not an error of every
    command.
    """
    with override_settings(EVENT_TRACKING=value):
        (text,) = messages()["eventtracking.E001"]
        with pytest.raises(CommandError, match="EVENT_TRACKING: "):
            call_command("eventtracking", "check")
    expected = "EVENT_TRACKING: .: cannot be read: Is a directory"
    assert text == (
        f"EVENT_TRACKING: expected a dict, or the path of a file; found {found}"
        if found
        else expected
    )
    assert f"events are not captured: {text}; see `manage.py check`" in caplog.text


def test_a_file_that_is_not_there() -> None:
    """A path that leads nowhere is told with the setting that names it, by the checks and by the
    command.
    """
    text = "EVENT_TRACKING: /nope.toml: cannot be read: No such file or directory"
    with override_settings(EVENT_TRACKING="/nope.toml"):
        assert messages() == {"eventtracking.E001": [text]}
        with pytest.raises(CommandError, match=text):
            call_command("eventtracking", "check")


def test_a_destination_that_is_down_does_not_stop_the_start(tmp_path: Path) -> None:
    """A backend that cannot connect is no problem of the config; its events are counted
    as failed.
    """
    (tmp_path / "file").touch()
    closed = {
        "backends": {"own": {"plugin": "sqlite", "path": str(tmp_path / "file" / "events.db")}}
    }
    with override_settings(EVENT_TRACKING=closed):
        assert messages() == {}
        tracker.emit("a")
        assert tracker.get_tracker().stats()[""].failed == 1


@pytest.mark.parametrize(
    ("settings", "identifier", "text"),
    [
        (
            {"EVENT_TRACKING_CONTEXT": "no.such.callable"},
            "eventtracking.E003",
            "No module named 'no'",
        ),
        (
            {"EVENT_TRACKING_CONTEXT": 3},
            "eventtracking.E003",
            "expected a callable, or its dotted path",
        ),
        (
            {"EVENT_TRACKING_TRUSTED_PROXIES": "10.0.0.1"},
            "eventtracking.E004",
            "expected a number, or a list",
        ),
        (
            {"EVENT_TRACKING_TRUSTED_PROXIES": ["x"]},
            "eventtracking.E004",
            "'x' does not appear to be an IPv4 or IPv6",
        ),
        ({"EVENT_TRACKING_TRUSTED_PROXIES": -1}, "eventtracking.E004", "0 or more; found -1"),
        (
            {"EVENT_TRACKING_BACKENDS": {}},
            "eventtracking.W002",
            "EVENT_TRACKING_BACKENDS is not read",
        ),
    ],
)
def test_other_settings_are_checked(settings: dict[str, Any], identifier: str, text: str) -> None:
    """Each other setting that is wrong has a check of its own."""
    with override_settings(**settings):
        found = messages()
    assert list(found) == [identifier]
    assert text in found[identifier][0]


def test_the_order_of_the_middleware_is_checked() -> None:
    """Before the authentication, no event would know its user; before the sessions, none its
    session.
    """
    from django.conf import settings

    sessions, users, ours = settings.MIDDLEWARE
    with override_settings(MIDDLEWARE=[sessions, ours, users]):
        assert messages() == {
            "eventtracking.W003": [f"{ours} stands before {users}, so that no event knows the user"]
        }
    with override_settings(MIDDLEWARE=[ours, sessions]):
        (text,) = messages()["eventtracking.W003"]
    assert text == f"{ours} stands before {sessions}, so that no event knows the session"


@pytest.mark.needs("legacy")
def test_old_settings_are_read(caplog: pytest.LogCaptureFixture) -> None:
    """Without `EVENT_TRACKING`, the settings of event-tracking are read, and their problems told at
    their places.
    """
    logger = {
        "ENGINE": "eventtracking.backends.logger.LoggerBackend",
        "OPTIONS": {"name": "old.log"},
    }
    with override_settings(EVENT_TRACKING=None, EVENT_TRACKING_BACKENDS={"log": logger}):
        with caplog.at_level(logging.INFO, "old.log"):
            tracker.emit("a")
        assert messages() == {}
    assert lines_of(caplog, "old.log") == ["a"]
    broken = {"log": {**logger, "OPTIONS": {"name": "old.log", "level": "loud"}}}
    with override_settings(EVENT_TRACKING=None, EVENT_TRACKING_BACKENDS=broken):
        (text,) = messages()["eventtracking.E001"]
    assert text.startswith("EVENT_TRACKING_BACKENDS.log.OPTIONS.level: expected one of")


class TestHelper(CaptureEventsMixin, unittest.TestCase):
    """The mixin for Django's test cases."""

    def test_it_captures(self) -> None:
        """What a test emits is in `events`."""
        tracker.emit("a", {"k": 1})
        assert [(event.name, event.data) for event in self.events] == [("a", {"k": 1})]

    def test_it_begins_anew(self) -> None:
        """What other tests emitted is not."""
        assert list(self.events) == []


class TestOverridden(CaptureEventsMixin, SimpleTestCase):
    """The mixin beside Django's settings for one test."""

    @override_settings(EVENT_TRACKING={"backends": {"log": {**LOG, "name": "tests.overridden"}}})
    def test_it_goes_on_capturing(self) -> None:
        """With the config overridden for a test method, its events are captured, and reach no
        destination.
        """
        with self.assertNoLogs("tests.overridden"):
            tracker.emit("a")
        assert [event.name for event in self.events] == ["a"]


def test_disabled_during_a_capture() -> None:
    """Where a test disables tracking, nothing is captured; where the settings have it disabled, a
    test still has its events.
    """
    disabled = override_settings(EVENT_TRACKING_ENABLED=False)
    with capture_events() as events, disabled:
        tracker.emit("disabled")
    assert list(events) == []
    with disabled, capture_events() as events:
        tracker.emit("wanted")
    assert [event.name for event in events] == ["wanted"]


def test_settings_that_change_during_a_capture_hold_after_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A config that is set while events are captured, however deep, is that of the default tracker
    afterwards.
    """
    logs = "tests.tracking", "tests.overridden"
    with caplog.at_level(logging.INFO, logs[0]), caplog.at_level(logging.INFO, logs[1]):
        with capture_events() as outer, capture_events() as inner:
            changed = override_settings(
                EVENT_TRACKING={"backends": {"log": {**LOG, "name": "tests.overridden"}}}
            )
            changed.enable()
            tracker.emit("captured")
        tracker.emit("delivered")
        changed.disable()
        tracker.emit("as before")
    assert ([event.name for event in inner], list(outer)) == (["captured"], [])
    assert [record.name for record in caplog.records] == ["tests.overridden", "tests.tracking"]


def test_the_capture_delivers_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """While events are captured, none reaches a destination, and afterwards they do again."""
    with caplog.at_level(logging.INFO, "tests.tracking"):
        with capture_events() as events:
            tracker.emit("captured")
        tracker.emit("delivered")
    assert [event.name for event in events] == ["captured"]
    assert lines_of(caplog, "tests.tracking") == ["delivered"]


def test_the_management_command(capfd: pytest.CaptureFixture[str]) -> None:
    """`manage.py eventtracking` runs the command line with the config of the settings."""
    with pytest.raises(SystemExit) as caught:
        call_command("eventtracking", "graph")
    assert caught.value.code == 0
    assert "logger" in capfd.readouterr().out


@pytest.mark.needs("legacy")
def test_the_management_command_reads_the_old_settings(capfd: pytest.CaptureFixture[str]) -> None:
    """With the settings of event-tracking, the command line gets the config that they amount to."""
    logger = {
        "ENGINE": "eventtracking.backends.logger.LoggerBackend",
        "OPTIONS": {"name": "the old log"},
    }
    old = override_settings(EVENT_TRACKING=None, EVENT_TRACKING_BACKENDS={"log": logger})
    with old, pytest.raises(SystemExit) as caught:
        call_command("eventtracking", "graph")
    assert caught.value.code == 0
    assert "the old log" in capfd.readouterr().out


def test_the_management_command_tells_problems(capfd: pytest.CaptureFixture[str]) -> None:
    """A config with problems is told, with exit status 1; one that no file can hold is refused."""
    with (
        override_settings(EVENT_TRACKING={"backends": {"a": {"plugin": "loger"}}}),
        pytest.raises(SystemExit) as caught,
    ):
        call_command("eventtracking", "check")
    assert caught.value.code == 1
    assert "backends.a.plugin" in "".join(capfd.readouterr())
    with (
        override_settings(EVENT_TRACKING={"context": {"x": object()}}),
        pytest.raises(CommandError, match="a file cannot"),
    ):
        call_command("eventtracking", "check")


def test_a_broken_branch_leaves_the_sound_ones(caplog: pytest.LogCaptureFixture) -> None:
    """The log names the problem of the broken route; the other routes have their events."""
    broken = {"backends": {"a": {"plugin": "loger"}, "b": {**LOG, "name": "sound"}}}
    with override_settings(EVENT_TRACKING=broken), caplog.at_level(logging.INFO, "sound"):
        tracker.emit("a")
        counts = tracker.get_tracker().stats()
    assert lines_of(caplog, "sound") == ["a"]
    assert (counts["b"].delivered, counts["a"].failed) == (1, 1)
    (line,) = [
        record.getMessage() for record in caplog.records if record.name == "eventtracking.django"
    ]
    assert line.startswith("a route is out of service: backends.a.plugin: unknown backend")


def test_a_dollar_of_the_settings_reaches_a_command(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A file may hold references, settings do not: a command sees the text that stands there."""
    config = {"backends": {"s": {"plugin": "sqlite", "path": str(tmp_path / "a$$b.db")}}}
    with override_settings(EVENT_TRACKING=config), pytest.raises(SystemExit):
        call_command("eventtracking", "emit", "a")
    assert (tmp_path / "a$$b.db").exists()


def test_captured_events_have_the_context_of_production() -> None:
    """The base context, contexts entered before and inside, and strictness are the same."""
    config = {"context": {"service": "shop"}, "backends": {"l": {"plugin": "logger"}}}
    with override_settings(EVENT_TRACKING=config), tracker.context({"user_id": 5}):
        production = tracker.resolve_context()
        with capture_events() as events, tracker.context({"inner": 1}):
            tracker.emit("a")
    assert production == {"service": "shop", "user_id": 5}
    assert events[0].context == {**production, "inner": 1}
    with (
        override_settings(EVENT_TRACKING={**config, "strict": True}),
        capture_events(),
        pytest.raises(DataError),
    ):
        tracker.emit("a", ["x"])
