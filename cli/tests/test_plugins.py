"""The command `plugins`."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import attrs
import msgspec
import pytest
from click.testing import Result

from eventtracking import Event
from eventtracking_testkit.distribution import fake_distribution

pytestmark = pytest.mark.needs("logger")


@attrs.define(eq=False)
class Shop:
    """Sells events.

    And more, which the list does not need.
    """

    mode: Literal["fast", "slow"] = attrs.field(metadata={"help": "How it sells."})
    count: Annotated[int, msgspec.Meta(ge=1)] = attrs.field(
        default=3, metadata={"help": "How many [bold]."}
    )
    key: str = attrs.field(default="s3cret", repr=False, metadata={"help": "The key."})

    def send(self, events: Sequence[Event]) -> None: ...


@attrs.define(eq=False)
class Plain:
    def send(self, events: Sequence[Event]) -> None: ...


def listing(run: Callable[..., Result]) -> dict[str, dict[str, Any]]:
    result = run("plugins", "--json")
    assert result.exit_code == 0
    return {entry["name"]: entry for entry in json.loads(result.stdout)}


def test_the_list_has_every_installed_plugin(run: Callable[..., Result]) -> None:
    """Name, kind, version, distribution and state."""
    found = listing(run)
    assert found["logger"] == {
        "name": "logger",
        "kind": "backend",
        "version": "0.1.0",
        "distribution": "eventtracking-logger",
        "state": "ok",
        "error": "",
    }
    assert found["regex_filter"]["kind"] == "processor"
    table = run("plugins").stdout
    assert all(name in table for name in found)


def test_a_broken_plugin_is_shown_with_its_error(run: Callable[..., Result]) -> None:
    """The others are listed all the same."""
    with fake_distribution(
        "acme", version="2.1", modules={"acme": "1/0"}, entry_points={"acme": "acme"}
    ):
        found = listing(run)
        table = run("plugins").stdout
        named = run("plugins", "acme")
    assert found["acme"]["state"] == "broken"
    assert "ZeroDivisionError" in found["acme"]["error"]
    assert found["logger"]["state"] == "ok"
    assert "broken: 'acme' of acme 2.1 is broken" in table
    assert named.exit_code == 1
    assert "ZeroDivisionError" in named.stderr


REGISTERS_NOTHING_GOOD = """
from eventtracking.hookspecs import hookimpl

@hookimpl
def eventtracking_register_backends(register):
    register("acme", prepare())

def prepare():
    return {}["table"]
"""


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("def start():\n    return 1 / 0\n\nstart()", ("return 1 / 0", "start()")),
        ("import no_such_driver", ("import no_such_driver",)),
        ("def start(:", ("def start(:",)),
        (REGISTERS_NOTHING_GOOD, ('register("acme", prepare())', 'return {}["table"]')),
    ],
)
def test_an_author_is_shown_where_a_plugin_broke(
    run: Callable[..., Result], source: str, shown: tuple[str, ...]
) -> None:
    """With `--traceback`: the lines of the plugin's own code, and none of those that call it."""
    with fake_distribution("acme", modules={"acme": source}, entry_points={"acme": "acme"}):
        traced = run("plugins", "acme", "--traceback")
        plain = run("plugins", "acme")
    assert traced.exit_code == plain.exit_code == 1
    assert all(line in traced.stderr for line in shown)
    assert "discovery.py" not in traced.stderr
    assert "importlib" not in traced.stderr
    assert traced.stderr.endswith(plain.stderr)
    assert "Traceback" not in plain.stderr


def test_a_traceback_is_of_one_plugin(run: Callable[..., Result]) -> None:
    """Without a name it is refused; a plugin that is well is shown as ever."""
    refused = run("plugins", "--traceback")
    assert refused.exit_code == 2
    assert "--traceback: needs the NAME" in refused.stderr
    assert run("plugins", "logger", "--traceback").stdout == run("plugins", "logger").stdout


def test_a_clash_is_shown_with_both_distributions(run: Callable[..., Result]) -> None:
    """Both lines say who else claims the name."""
    with fake_distribution("acme", plugins={"logger": Plain}):
        found = [
            entry
            for entry in json.loads(run("plugins", "--json").stdout)
            if entry["name"] == "logger"
        ]
        named = run("plugins", "logger")
    assert {entry["distribution"] for entry in found} == {"acme", "eventtracking-logger"}
    assert {entry["state"] for entry in found} == {"clash"}
    assert all("acme and eventtracking-logger" in entry["error"] for entry in found)
    assert named.exit_code == 1
    assert "claimed by acme and eventtracking-logger" in named.stderr


def test_a_plugin_of_commands_alone_is_not_broken(run: Callable[..., Result]) -> None:
    """It registers no class, and does not mean to."""
    source = """
        from eventtracking import hookimpl

        @hookimpl
        def eventtracking_register_commands(group): ...
    """
    with fake_distribution(
        "tools", modules={"tools_of_acme": source}, entry_points={"tools": "tools_of_acme"}
    ):
        found = listing(run)
    assert (found["tools"]["kind"], found["tools"]["state"]) == ("commands", "ok")


def test_the_options_of_one(run: Callable[..., Result]) -> None:
    """Name, what is accepted in words, default and help; a secret's default does not show, and
    nothing is markup.
    """
    with fake_distribution("acme", version="1.2", plugins={"shop": Shop}):
        text = run("plugins", "shop").stdout
        facts = json.loads(run("plugins", "shop", "--json").stdout)
    rows = [
        [cell.strip() for cell in line.split("│")[1:5]] for line in text.splitlines() if "│" in line
    ]
    assert rows == [
        ["mode", 'one of "fast", "slow"', "required", "How it sells."],
        ["count", "an integer, at least 1", "3", "How many [bold]."],
        ["key", "text", "***", "The key. (secret)"],
    ]
    assert text.startswith("shop: backend, acme 1.2\nSells events.\n")
    assert "s3cret" not in text + json.dumps(facts)
    assert [option["name"] for option in facts["options"]] == ["mode", "count", "key"]
    assert facts["summary"] == "Sells events."


def test_one_without_options_or_a_docstring(run: Callable[..., Result]) -> None:
    """It says so, and shows no text that attrs made up."""
    with fake_distribution("acme", plugins={"plain": Plain}):
        text = run("plugins", "plain").stdout
    assert text.endswith("It takes no options.\n")
    assert "attrs" not in text


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("sqlit", "did you mean 'sqlite'?"),
        (
            "my_store",
            (
                "pip install eventtracking-my-store if it is one of eventtracking's; if it is your"
                " own,"
            ),
        ),
        ("acme.Shop", "a plugin is called by its name, never by an import path or a class"),
    ],
)
def test_one_that_is_not_installed_is_wrong_usage(
    run: Callable[..., Result], name: str, hint: str
) -> None:
    """Exit status 2, with those that are, and the next step in the words of a config's error."""
    result = run("plugins", name)
    assert result.exit_code == 2
    assert f"no plugin named {name!r} is installed; installed plugins are " in result.stderr
    assert "logger" in result.stderr
    assert hint in result.stderr


def test_a_narrow_terminal_has_a_block_for_each(
    run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Instead of a table with broken words."""
    monkeypatch.setenv("COLUMNS", "40")
    with fake_distribution("acme", version="1.2", plugins={"shop": Shop}):
        text = run("plugins", "shop").stdout
        listed = run("plugins").stdout
    assert (
        "count\n  accepts: an integer, at least 1\n  default: 3\n  meaning: How many [bold].\n"
        in text
    )
    assert "\nshop\n  kind: backend\n  version: 1.2\n  distribution: acme\n  state: ok\n" in listed
