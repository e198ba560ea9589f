"""The config that the user of a command means: its option, and the tracker made of it.

For the commands of plugins too.

A plugin's command looks like the built-in ones::

    @hookimpl
    def eventtracking_register_commands(group):
        import click
        from eventtracking_cli.config import config_option, load_tracker

        @group.command("count")
        @config_option
        def count(config_path):
            with load_tracker(config_path) as tracker:
                click.echo(tracker.stats())
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from eventtracking import ConfigError, Tracker
from eventtracking.config import Spec, load_file, parse
from eventtracking_cli.output import printable

__all__ = [
    "DEFAULT_CONFIG",
    "ENVIRONMENT_VARIABLE",
    "ConfigFailure",
    "config_option",
    "load_config",
    "load_spec",
    "load_tracker",
    "tracker_of",
]

ENVIRONMENT_VARIABLE: Final = "EVENTTRACKING_CONFIG"
DEFAULT_CONFIG: Final = "eventtracking.toml"

_Command = TypeVar("_Command", bound=Callable[..., Any])


class ConfigFailure(click.ClickException):
    """Ends the command with every problem of the config on the standard error, and exit status 1.

    Args:
        error: The problems.
        config_path: The file.
    """

    def __init__(self, error: ConfigError, config_path: str) -> None:
        super().__init__(printable(f"{config_path}: {error}", keep_lines=True))
        self.error = error
        self.config_path = config_path


def config_option(command: _Command) -> _Command:
    """Add `-c/--config FILE` to a command; its function is given `config_path`, text.

    Without the option it is the environment variable EVENTTRACKING_CONFIG, else
    `eventtracking.toml`. An empty one is none.
    """
    option = click.option(
        "-c",
        "--config",
        "config_path",
        metavar="FILE",
        envvar=ENVIRONMENT_VARIABLE,
        default=DEFAULT_CONFIG,
        callback=_or_the_usual,
        show_envvar=True,
        show_default=True,
        help="The routing config, TOML or JSON.",
    )
    return option(command)


def _or_the_usual(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    """Take `-c ""` for no option: a shell makes it of a variable that is not set."""
    return value or os.environ.get(ENVIRONMENT_VARIABLE) or DEFAULT_CONFIG


def load_config(config_path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a config file. The meaning of its plugins' options is not looked at.

    Raises:
        click.UsageError: If there is no such file (exit status 2).
        ConfigFailure: If it cannot be read or parsed (exit status 1).
    """
    if not Path(config_path).exists():
        raise click.UsageError(
            f"there is no config {os.fspath(config_path)!r}; name one with -c FILE or in"
            f" {ENVIRONMENT_VARIABLE}"
        )
    try:
        return load_file(config_path)
    except ConfigError as error:
        raise ConfigFailure(error, os.fspath(config_path)) from error


def load_spec(config_path: str | os.PathLike[str]) -> Spec:
    """Read and check a config file.

    Raises:
        click.UsageError: If there is no such file (exit status 2).
        ConfigFailure: With every problem of the config (exit status 1).
    """
    config = load_config(config_path)
    try:
        return parse(config)
    except ConfigError as error:
        raise ConfigFailure(error, os.fspath(config_path)) from error


def load_tracker(config_path: str | os.PathLike[str]) -> Tracker:
    """Make a tracker from a config file.

    Nothing is opened yet; use it in a `with` block, which closes it.

    Raises:
        click.UsageError: If there is no such file (exit status 2).
        ConfigFailure: With every problem of the config (exit status 1).
    """
    return tracker_of(load_config(config_path), config_path)


def tracker_of(config: Mapping[str, Any], config_path: str | os.PathLike[str]) -> Tracker:
    """Make a tracker from a config that `load_config` has read.

    Raises:
        ConfigFailure: With every problem of the config (exit status 1).
    """
    try:
        return Tracker.from_config(config)
    except ConfigError as error:
        raise ConfigFailure(error, os.fspath(config_path)) from error
