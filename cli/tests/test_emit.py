"""The command `emit`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

pytestmark = pytest.mark.needs("logger", "name_filter", "sqlite")

ROUTES = """
[context]
host = "h1"

[backends.log]
plugin = "logger"
max_event_bytes = 400

[backends.none]
plugin = "logger"
processors = [{ plugin = "name_filter", names = ["another"] }]
"""


def test_one_event_goes_through_the_config(
    run: Callable[..., Result], config: Callable[..., Path]
) -> None:
    """With its data and context; what a logger writes is on the standard error, the counts on the
    standard output.
    """
    config(ROUTES)
    result = run("emit", "a.b", "--data", '{"n": [1, "é"]}', "--context", '{"user_id": 5}')
    assert result.exit_code == 0
    event = json.loads(result.stderr)
    assert list(event) == ["name", "timestamp", "context", "data", "id"]
    assert (event["name"], event["data"]) == ("a.b", {"n": [1, "é"]})
    assert event["context"] == {"host": "h1", "user_id": 5}
    rows = [line.replace("│", " ").split() for line in result.stdout.splitlines() if "│" in line]
    assert rows == [
        ["(all)", "1", "1", "0", "0", "0", "0"],
        ["log", "1", "1", "0", "0", "0", "0"],
        ["none", "1", "0", "1", "0", "0", "0"],
    ]
    assert "none: filtered: name_filter: the name is not accepted (1)" in result.stdout


def test_what_is_logged_can_go_to_a_file(
    run: Callable[..., Result], config: Callable[..., Path], folder: Path
) -> None:
    """--log appends to it, and nothing of the event is on the terminal."""
    config(ROUTES)
    for _ in range(2):
        result = run("emit", "a.b", "--log", "events.log")
        assert result.stderr == ""
    lines = (folder / "events.log").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["name"] for line in lines] == ["a.b", "a.b"]


def test_for_scripts(run: Callable[..., Result], config: Callable[..., Path]) -> None:
    """--json has the counts of each route by its path, and why."""
    config(ROUTES)
    counts = json.loads(run("emit", "a.b", "--json").stdout)
    assert list(counts) == ["", "log", "none"]
    assert counts["none"]["filtered"] == 1
    assert counts["none"]["reasons"] == {"filtered: name_filter: the name is not accepted": 1}


def test_an_event_that_fails_is_exit_status_1(
    run: Callable[..., Result], config: Callable[..., Path]
) -> None:
    """With the reason, and nothing of the event."""
    config(ROUTES)
    result = run("emit", "a.b", "--data", json.dumps({"text": "s3cret" * 100}))
    assert result.exit_code == 1
    assert "log: failed: Rejected: longer than max_event_bytes=400 (1)" in result.stdout
    assert "s3cret" not in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a", "--data", "{"], "it is not JSON: Expecting property name"),
        (["a", "--data", "[1]"], "expected a JSON object"),
        (["a", "--context", "5"], "expected a JSON object"),
        (["a", "--data", "[" * 100_000], "it is not JSON: RecursionError"),
        (
            ["a", "--log", "no/such/folder/log"],
            "--log no/such/folder/log: No such file or directory",
        ),
        ([""], "the name of an event must not be empty"),
        ([], "Missing argument 'NAME'"),
    ],
)
def test_wrong_usage(
    run: Callable[..., Result], config: Callable[..., Path], arguments: list[str], message: str
) -> None:
    """Exit status 2 and one message."""
    config(ROUTES)
    result = run("emit", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr


def test_a_backend_that_cannot_be_opened_is_told_of(
    run: Callable[..., Result], config: Callable[..., Path]
) -> None:
    """The event fails there and goes to the others."""
    config(
        '[backends.store]\nplugin = "sqlite"\npath = "/proc/none/events.db"\n[backends.log]\nplugin'
        ' = "logger"\n'
    )
    result = run("emit", "a", "--log", "log")
    assert result.exit_code == 1
    assert "warning: the backend at 'store' cannot be opened: " in result.stderr
    rows = [line.replace("│", " ").split() for line in result.stdout.splitlines() if "│" in line]
    assert rows[1:] == [
        ["store", "1", "0", "0", "1", "0", "0"],
        ["log", "1", "1", "0", "0", "0", "0"],
    ]
