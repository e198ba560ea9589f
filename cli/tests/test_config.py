"""Which config a command uses, and what plugins' commands are offered for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from eventtracking import Tracker
from eventtracking_cli.config import (
    ConfigFailure,
    config_option,
    load_config,
    load_spec,
    load_tracker,
)

pytestmark = pytest.mark.needs("logger")

GOOD = '[backends.log]\nplugin = "logger"\n'
BAD = '[backends.log]\nplugin = "loger"\n[backends.other]\nplugin = "logger"\nlevel = "loud"\n'


def test_the_option_wins_over_the_environment_and_that_over_the_default(
    run: Callable[..., Result], config: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """-c, else EVENTTRACKING_CONFIG, else eventtracking.toml; and -c=--config."""
    for name in ("eventtracking", "from_env", "from_option"):
        config(f'[backends.{name}]\nplugin = "logger"\n', f"{name}.toml")
    assert "eventtracking: logger" in run("graph").stdout
    monkeypatch.setenv("EVENTTRACKING_CONFIG", "from_env.toml")
    assert "from_env: logger" in run("graph").stdout
    assert "from_option: logger" in run("graph", "-c", "from_option.toml").stdout
    assert "from_option: logger" in run("graph", "--config", "from_option.toml").stdout


def test_an_empty_option_is_none(
    run: Callable[..., Result], config: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is what a shell makes of `-c "$UNSET"`: the environment, else the default."""
    config(GOOD)
    assert run("check", "-c", "").stdout == "eventtracking.toml: ok (1 route, 0 processors)\n"
    config(GOOD, "from_env.toml")
    monkeypatch.setenv("EVENTTRACKING_CONFIG", "from_env.toml")
    assert run("check", "-c", "").stdout.startswith("from_env.toml: ok")
    monkeypatch.setenv("EVENTTRACKING_CONFIG", "")
    assert run("check").stdout.startswith("eventtracking.toml: ok")


@pytest.mark.parametrize("command", [["check"], ["graph"], ["emit", "a"]])
@pytest.mark.parametrize(
    ("name", "text"), [("c.json", '{"backends": ' * 100_000), ("c.toml", "a = " + "[" * 100_000)]
)
def test_a_config_that_is_nested_too_deeply_is_a_problem(
    run: Callable[..., Result],
    config: Callable[..., Path],
    command: list[str],
    name: str,
    text: str,
) -> None:
    """A message, and exit status 1."""
    config(text, name)
    result = run(*command, "-c", name)
    assert result.exit_code == 1
    assert f"{name}: nested too deeply" in result.stderr


def test_the_names_of_a_config_do_not_reach_the_terminal_raw(
    run: Callable[..., Result], config: Callable[..., Path]
) -> None:
    """Neither in a drawing nor in a problem."""
    config('[backends."a\\u001b[31m"]\nplugin = "logger"\nname = "x\\u009by"\n')
    assert run("graph").stdout == 'every event\n└── a\\x1b[31m: logger name="x\\x9by"\n'
    assert "\x1b" not in run("graph", "--format", "mermaid").stdout
    assert "\x1b" not in run("emit", "e", "--log", "log").output
    config('[backends."a\\u001b[31m"]\nplugin = "logge"\n')
    for command in (["check"], ["graph"]):
        assert "backends.a\\x1b[31m.plugin: unknown backend" in run(*command).stderr


def test_a_config_may_be_json(run: Callable[..., Result], config: Callable[..., Path]) -> None:
    """The same mapping, in a file that ends in .json."""
    config('{"backends": {"log": {"plugin": "logger"}}}', "c.json")
    assert run("check", "-c", "c.json").exit_code == 0


@pytest.mark.parametrize(
    "command", [["check"], ["graph"], ["emit", "a"], ["replay", "-"], ["explain", "-"]]
)
def test_no_config_is_wrong_usage(run: Callable[..., Result], command: list[str]) -> None:
    """Exit status 2, with the three ways to name one."""
    result = run(*command, stdin=b'{"name": "a"}')
    assert result.exit_code == 2
    message = (
        "there is no config 'eventtracking.toml'; name one with -c FILE or in EVENTTRACKING_CONFIG"
    )
    assert message in result.stderr


@pytest.mark.parametrize(
    "command", [["check"], ["graph"], ["emit", "a"], ["replay", "-"], ["explain", "-"]]
)
def test_a_bad_config_is_one_message_with_every_problem(
    run: Callable[..., Result], config: Callable[..., Path], command: list[str]
) -> None:
    """Exit status 1 and no traceback, whatever the command."""
    config(BAD)
    result = run(*command, stdin=b'{"name": "a"}')
    assert result.exit_code == 1
    assert "the config has 2 problems" in result.stderr
    assert "backends.log.plugin" in result.stderr
    assert "did you mean 'logger'?" in result.stderr
    assert "backends.other.level" in result.stderr
    assert "Traceback" not in result.output


@pytest.mark.parametrize("text", ["not toml", "[backends", ""])
def test_what_cannot_be_parsed_is_a_problem(
    run: Callable[..., Result], config: Callable[..., Path], text: str
) -> None:
    """A syntax error has its line; an empty file is a config without backends."""
    config(text)
    result = run("check")
    assert result.exit_code == (1 if text else 0)
    assert ("cannot be parsed" in result.stderr) is bool(text)


def test_what_plugins_are_offered(config: Callable[..., Path]) -> None:
    """A plugin's own command takes the same option, and gets the mapping, the spec or a tracker."""
    path = config(GOOD)

    @click.command()
    @config_option
    def count(config_path: str) -> None:
        with load_tracker(config_path) as tracker:
            assert isinstance(tracker, Tracker)
            click.echo(list(tracker.stats()))

    result = CliRunner().invoke(count, ["-c", str(path)])
    assert (result.exit_code, result.output) == (0, "['', 'log']\n")
    assert load_config(path) == {"backends": {"log": {"plugin": "logger"}}}
    assert load_spec(path).routes[0].route == "log"


def test_a_plugin_can_look_at_the_problems(config: Callable[..., Path]) -> None:
    """The failure carries the config's error and its file."""
    path = config(BAD)
    with pytest.raises(ConfigFailure) as caught:
        load_tracker(path)
    assert len(caught.value.error.problems) == 2
    assert caught.value.config_path == str(path)
    assert caught.value.exit_code == 1
