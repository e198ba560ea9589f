"""`eventtracking dead-letters` and `eventtracking buffer status`, beside a running application and
without one.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from buffer_trials import Until, down
from click.testing import CliRunner, Result

from eventtracking import Tracker
from eventtracking_buffer.cli.commands import buffer, dead_letters
from eventtracking_testkit.fakes import FailingBackend, RecordingBackend

pytestmark = pytest.mark.needs("logger")


@pytest.fixture
def config(tmp_path: Path) -> dict[str, Any]:
    """Write a config file, and return what is in it."""
    leaves = {"bad": {"plugin": "fail"}, "ok": {"plugin": "rec"}}
    quick = {"max_attempts": 1, "max_batch_age_s": 0.01, "retry_base_s": 0.02}
    node = {
        "plugin": "buffer",
        "storage": "disk",
        "path": str(tmp_path / "buffer"),
        **quick,
        "backends": leaves,
    }
    made = {
        "backends": {"w": node, "m": {"plugin": "buffer", "backends": {"ok": {"plugin": "rec"}}}}
    }
    (tmp_path / "config.json").write_text(json.dumps(made))
    return made


@pytest.fixture
def command(tmp_path: Path, config: dict[str, Any]) -> Callable[..., Result]:
    """Return a function that runs a command with the config."""

    def run(group: Any, name: str, *arguments: str) -> Result:
        return CliRunner().invoke(group, [name, "-c", str(tmp_path / "config.json"), *arguments])

    return run


@pytest.fixture
def application(config: dict[str, Any], until: Until) -> Iterator[Tracker]:
    """Run an application whose backend `bad` is down and has three dead letters."""
    FailingBackend.actions[""] = down
    with Tracker.from_config(config) as tracker:
        for name in ("a.b", "a.c", "d"):
            tracker.emit(name, {"secret": "payload"})
        until(lambda: tracker.stats()["w"].dead_lettered == 3)
        yield tracker


def test_letters_are_listed_without_their_payload(application: Tracker, command: Any) -> None:
    """A line for each, filtered by route, name, age and reason; the event itself only on
    request.
    """
    lines = command(dead_letters, "list").output.splitlines()
    assert [line.split("\t")[6:] for line in lines] == [
        [n, "1", "ConnectionError"] for n in ("a.b", "a.c", "d")
    ]
    assert "payload" not in "".join(lines)
    assert (
        len(command(dead_letters, "list", "--name", "a.*", "--route", "w/bad").output.splitlines())
        == 2
    )
    assert command(dead_letters, "list", "--older-than", "1h").stdout == ""
    assert command(dead_letters, "list", "--newer-than", "1h").output.count("\n") == 3
    assert command(dead_letters, "list", "--reason", "Timeout").stdout == ""
    found = json.loads(command(dead_letters, "list", "--json", "--name", "d").output)
    assert [(letter["name"], letter["route"], letter["attempts"]) for letter in found] == [
        ("d", "w/bad", 1)
    ]
    shown = json.loads(command(dead_letters, "show", found[0]["id"]).output)
    assert shown["event"]["data"] == {"secret": "payload"}
    assert json.loads(command(dead_letters, "show", str(found[0]["number"])).output) == shown


def test_that_there_is_none_is_said(command: Any) -> None:
    """On the standard error, so that a script gets nothing; `--json` is an empty list.

    Both are a success.
    """
    plain, as_json = command(dead_letters, "list"), command(dead_letters, "list", "--json")
    assert (plain.exit_code, plain.stdout, plain.stderr) == (0, "", "no dead letters\n")
    assert (as_json.exit_code, as_json.stdout, as_json.stderr) == (0, "[]\n", "")


@pytest.mark.parametrize("name", [["list"], ["replay"], ["purge", "--yes"]])
def test_a_route_that_is_not_there_is_refused(command: Any, name: list[str]) -> None:
    """It would mean nothing, so the message has those that mean something."""
    result = command(dead_letters, *name, "--route", "w/bat")
    assert result.exit_code == 2
    assert (
        "there is no route 'w/bat'; there are w, w/bad, w/ok; did you mean 'w/bad'?"
        in result.output
    )
    assert command(dead_letters, *name, "--route", "w").exit_code == 0


def test_a_route_that_the_config_has_no_longer(
    application: Tracker, command: Any, config: dict[str, Any], tmp_path: Path
) -> None:
    """Its dead letters are there still, and so it may be named."""
    application.close()
    del config["backends"]["w"]["backends"]["bad"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert len(command(dead_letters, "list", "--route", "w/bad").stdout.splitlines()) == 3


def test_a_name_cannot_add_a_column_or_obey_the_terminal(
    application: Tracker, command: Any, until: Until
) -> None:
    """Control characters are escaped in a line; in JSON the name is whole."""
    name = "x\ty\x1b[31m\x9b\n"
    application.emit(name)
    until(lambda: application.stats()["w"].dead_lettered == 4)
    line = command(dead_letters, "list").stdout.splitlines()[-1]
    assert line.split("\t")[6:] == [r"x\ty\x1b[31m\x9b\n", "1", "ConnectionError"]
    as_json = command(dead_letters, "list", "--json").stdout
    assert json.loads(as_json)[-1]["name"] == name
    assert "\x9b" not in as_json


@pytest.mark.parametrize("which", ["²", "9" * 5_000, "no-such-id"])
def test_what_is_no_number_is_an_id(command: Any, which: str) -> None:
    """None of them is there, which is a message."""
    result = command(dead_letters, "show", which)
    assert result.exit_code == 1
    assert f"there is no dead letter {which!r}" in result.output


def test_a_replay_beside_a_running_application(
    application: Tracker, command: Any, until: Until
) -> None:
    """The application delivers what the command asks for; while the destination is down, nothing
    changes.
    """
    before = command(dead_letters, "list").output
    failed = command(dead_letters, "replay")
    assert failed.output == "3 replayed: 0 arrived, 3 are still dead letters\n"
    assert failed.exit_code == 1
    assert command(dead_letters, "list").output == before
    FailingBackend.actions[""] = lambda events: None
    assert (
        command(dead_letters, "replay", "--name", "a.*").output
        == "2 replayed: 2 arrived, 0 are still dead letters\n"
    )
    until(lambda: application.stats()["w"].delivered == 2)
    assert application.stats()["w"].dead_lettered == 1


def test_a_replay_without_an_application(
    application: Tracker, command: Any, config: dict[str, Any]
) -> None:
    """Where no process delivers, the command does, and leaves nothing behind."""
    application.close()
    FailingBackend.actions[""] = lambda events: None
    assert (
        command(dead_letters, "replay").output
        == "3 replayed: 3 arrived, 0 are still dead letters\n"
    )
    with Tracker.from_config(config) as tracker:
        tracker.open()
        assert (tracker.stats()["w"].delivered, tracker.stats()["w"].dead_lettered) == (3, 0)


def test_a_replay_of_chosen_numbers(application: Tracker, command: Any) -> None:
    """The others stay dead letters."""
    FailingBackend.actions[""] = lambda events: None
    numbers = [line.split("\t")[1] for line in command(dead_letters, "list").output.splitlines()]
    first, second = numbers[:2]
    assert (
        command(dead_letters, "replay", "--number", first, "--number", second).output
        == "2 replayed: 2 arrived, 0 are still dead letters\n"
    )
    left = command(dead_letters, "list").output.splitlines()
    assert [line.split("\t")[1] for line in left] == numbers[2:]


def test_a_replay_to_the_logger_is_written(
    command: Any,
    config: dict[str, Any],
    tmp_path: Path,
    until: Until,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A process has its loggers off until somebody decides; the command does, or else the events
    would be written nowhere.
    """
    leaf: dict[str, Any] = {"plugin": "logger", "max_event_bytes": 10}
    config["backends"]["w"]["backends"] = {"log": leaf}
    with caplog.at_level(logging.INFO), Tracker.from_config(config) as tracker:
        tracker.emit("a.b")
        until(lambda: tracker.stats()["w"].dead_lettered == 1)
    del leaf["max_event_bytes"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    result = command(dead_letters, "replay")
    assert result.stdout == "1 replayed: 1 arrived, 0 are still dead letters\n"
    assert json.loads(result.stderr.splitlines()[0])["name"] == "a.b"


def test_retired_and_replayed_to_another_route(
    command: Any, config: dict[str, Any], tmp_path: Path, until: Until
) -> None:
    """Events of a route that is gone become dead letters and go to another one; a second buffer
    of the config, which has no such route, does not hinder that.
    """
    FailingBackend.actions[""] = down
    del config["backends"]["m"]
    leaves = config["backends"]["w"]["backends"]
    config["backends"]["w"] |= {"max_attempts": 100, "backends": {"bad": leaves["bad"]}}
    with Tracker.from_config(config) as tracker:
        tracker.emit("a")
        until(lambda: tracker.stats()["w/bad"].pending == 1, 60.0)  # tried, and noted
        tracker.close(0.0)
    second = {**config["backends"]["w"], "path": str(tmp_path / "second")}
    config["backends"]["w"]["backends"] = {"ok": leaves["ok"]}
    config["backends"]["v"] = second | {"backends": {"ok": leaves["ok"]}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert "no event waits for 'w/ok'" in command(buffer, "retire", "w/ok").output
    assert command(buffer, "retire", "w/bad").stdout == "1 events are dead letters now\n"
    wrong = command(dead_letters, "replay", "--to", "v/ok")
    assert (wrong.exit_code, "v/ok" in wrong.output) == (2, True)
    assert len(command(dead_letters, "list").stdout.splitlines()) == 1
    done = command(dead_letters, "replay", "--to", "w/ok")
    assert done.stdout == "1 replayed: 1 arrived, 0 are still dead letters\n"
    assert [event.name for event in RecordingBackend.recorded[""]] == ["a"]


def test_a_purge(application: Tracker, command: Any, until: Until) -> None:
    """It asks first, and counts them as failed."""
    assert command(dead_letters, "purge", "--name", "d").exit_code == 1
    assert (
        command(dead_letters, "purge", "--name", "d", "--yes").output
        == "1 dead letters are deleted\n"
    )
    until(
        lambda: (application.stats()["w"].failed, application.stats()["w"].dead_lettered) == (1, 2)
    )


def test_status_of_a_process_that_died_at_once(
    command: Any, config: dict[str, Any], tmp_path: Path
) -> None:
    """Events of a process that was killed before it had made a state wait, and are told."""
    config["backends"]["w"]["max_attempts"] = 100  # one attempt may have been made
    (tmp_path / "config.json").write_text(json.dumps(config))
    FailingBackend.actions[""] = down
    with Tracker.from_config(config) as tracker:
        tracker.emit("a")
        tracker.close(0.0)
    folder = Path(config["backends"]["w"]["path"])
    for file in folder.glob("state.db*"):
        file.unlink()
    (row,) = json.loads(command(buffer, "status", "--json", "--interval", "0").output)
    assert (row["used"], row["received"], row["pending"]) == (True, 1, 1)
    assert not list(folder.glob("state.db*"))


def test_status(application: Tracker, command: Any, until: Until) -> None:
    """What waits, since when, what fails, and who delivers; in words and as JSON."""
    found = json.loads(command(buffer, "status", "--json", "--interval", "0.1").output)
    (row,) = found
    assert (
        row["route"],
        row["received"],
        row["pending"],
        row["dead_lettered"],
        row["letters"],
    ) == ("w", 3, 0, 3, 3)
    assert row["deliverer"]["pid"] > 0
    until(lambda: "failing: w/bad" in command(buffer, "status", "--interval", "0").output)
    text = command(buffer, "status").output
    assert "w: 0 pending" in text
    assert "delivered by process" in text
    assert "m: in memory" in text


def test_status_of_a_buffer_that_was_never_used(command: Any) -> None:
    """It is told, and nothing is made."""
    assert "w: never used" in command(buffer, "status").output
    assert command(dead_letters, "list").stdout == ""
    wrong = command(dead_letters, "show", "1")
    assert wrong.exit_code == 1
    assert "there is no dead letter '1'" in wrong.output


def test_the_size_of_events_that_were_tried_is_told(
    command: Any, config: dict[str, Any], tmp_path: Path, until: Until
) -> None:
    """Events that wait for another attempt are measured in bytes, too."""
    del config["backends"]["w"]["max_attempts"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    FailingBackend.actions[""] = down
    with Tracker.from_config(config) as tracker:
        tracker.emit("a")
        until(lambda: "failing: w/bad" in command(buffer, "status", "--interval", "0").output)
        tracker.close(0.1)
    first = command(buffer, "status", "--interval", "0").stdout.splitlines()[0]
    assert re.fullmatch(r"w: 1 pending \([1-9]\d+ bytes\)", first)


def test_an_age_that_is_none(command: Any) -> None:
    """The message says what is accepted."""
    result = command(dead_letters, "list", "--older-than", "soon")
    assert result.exit_code == 2
    assert "accepted are seconds, or a number with s, m, h or d" in result.output
