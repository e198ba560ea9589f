"""The command `explain`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

pytestmark = pytest.mark.needs("logger", "regex_filter", "sqlite")

CONFIG = """
[backends.store]
plugin = "sqlite"
path = "never.db"

[backends.courses]
processors = [
  { plugin = "regex_filter", filter_type = "allowlist", regular_expressions = ['course\\.'] },
]

[backends.courses.backends.log]
plugin = "logger"
"""

TREE = """\
video.played: takes it
├── store: takes it
└── courses: filtered out by backends.courses.processors[0] (regex_filter: the name is not accepted)
    └── log: filtered out by backends.courses.processors[0] (regex_filter: the name is not accepted)
"""


def test_who_takes_it_and_who_decides(
    run: Callable[..., Result], config: Callable[..., Path], folder: Path
) -> None:
    """A tree like that of `graph`; nothing is sent and nothing is opened."""
    config(CONFIG)
    (folder / "event.json").write_text('{"name": "video.played",\n "data": {}}')
    result = run("explain", "event.json")
    assert (result.exit_code, result.output) == (0, TREE)
    assert not (folder / "never.db").exists()


def test_for_scripts_and_from_a_pipe(
    run: Callable[..., Result], config: Callable[..., Path]
) -> None:
    """--json has one object a route; the older form of an event is understood."""
    config(CONFIG)
    result = run(
        "explain",
        "-",
        "--json",
        stdin=b'{"event_type": "course.left", "event": "{}", "time": "2020-01-01T00:00:00Z"}',
    )
    found = {decision["path"]: decision["takes"] for decision in json.loads(result.stdout)}
    assert found == {"": True, "store": True, "courses": True, "courses/log": True}


def test_a_name_does_not_reach_the_terminal_raw(
    run: Callable[..., Result], config: Callable[..., Path]
) -> None:
    """What a terminal would obey is escaped."""
    config(CONFIG)
    result = run("explain", "-", stdin=b'{"name": "a\\u001b[31m\\tb\\u009b\\n"}')
    assert result.stdout.splitlines()[0] == r"a\x1b[31m\tb\x9b\n: takes it"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"{", "no event: not JSON: Expecting property name"),
        (b'{"name": "', "no event: not JSON: Unterminated string starting at column 10"),
        (b"[]", "no event: expected a JSON object"),
        (b'{"data": {}}', "no event: an event needs a `name` that is text"),
        (b'{"name": "a"}\n{"name": "b"}', "no event: not JSON: Extra data at line 2 column 1"),
        (b'{"name": "\xff"}', "no event: not UTF-8 at byte 11"),
    ],
)
def test_what_is_no_event(
    run: Callable[..., Result], config: Callable[..., Path], text: bytes, message: str
) -> None:
    """Exit status 1 and one message."""
    config(CONFIG)
    result = run("explain", "-", stdin=text)
    assert result.exit_code == 1
    assert message in result.stderr


def test_a_file_that_is_not_there_is_wrong_usage(
    run: Callable[..., Result], config: Callable[..., Path]
) -> None:
    """Exit status 2."""
    config(CONFIG)
    assert run("explain", "no.json").exit_code == 2
