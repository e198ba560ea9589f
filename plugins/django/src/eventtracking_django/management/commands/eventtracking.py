"""`manage.py eventtracking ...`: the command line of eventtracking, with the config of the
settings.
"""

from __future__ import annotations

import argparse
import datetime as dt
import decimal
import enum
import json
import os
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.functional import Promise

from eventtracking import ConfigError
from eventtracking_django import conf, install

__all__ = ["Command"]

_VARIABLE = "EVENTTRACKING_CONFIG"


class Command(BaseCommand):
    """Run a command of `eventtracking` with the config of the settings: check, graph, replay,
    dead-letters, worker, ...
    """

    help = (
        "Run a command of eventtracking with the config of the settings: check, graph, replay,"
        " dead-letters, worker, ..."
    )
    requires_system_checks = ()  # so that `check` can tell what is wrong with the config

    def add_arguments(self, parser: CommandParser) -> None:
        """Take everything as it is."""
        parser.add_argument(
            "arguments",
            nargs=argparse.REMAINDER,
            help="The command and its arguments; none: a list.",
        )

    def handle(self, *_: Any, arguments: list[str], **__: Any) -> None:
        """Run the command.

        Raises:
            CommandError: If the command line is not installed, or there is no config.
            SystemExit: With the command's exit status.
        """
        try:
            from eventtracking_cli.app import main
        except ImportError as error:
            raise CommandError(
                "the command line is not installed: pip install eventtracking-cli"
            ) from error
        with _config_file() as path, _variable(str(path)):
            main(arguments or ["--help"])


@contextmanager
def _config_file() -> Iterator[Path]:
    """The config as a file: its own, or one that only this user can read, and that is removed at
    the end.
    """
    try:
        config = install.config_as_data()
        if not isinstance(config, Mapping):
            # so that a file that cannot be read is told of with the setting that names it
            conf.read_config()
    except ConfigError as error:
        raise CommandError(str(error)) from error
    if not isinstance(config, Mapping):
        yield Path(config)
        return
    with tempfile.TemporaryDirectory(prefix="eventtracking-") as folder:
        path = Path(folder, f"{conf.SETTING}.json")  # the commands name the file in what they print
        path.write_text(_as_json(config), encoding="utf-8")
        yield path


def _as_json(config: Mapping[str, Any]) -> str:
    try:
        return json.dumps(_for_file(config))
    except (TypeError, ValueError) as error:
        raise CommandError(
            f"the config of the settings holds what a file cannot: {error}"
        ) from error


def _for_file(value: Any) -> Any:
    """Write a config of Python's as a file has it, where a dollar may begin a reference."""
    if isinstance(value, str):
        return value.replace("$", "$$")
    if isinstance(value, Mapping):
        return {key: _for_file(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_for_file(inner) for inner in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return _for_file(_plain(value))


def _plain(value: Any) -> Any:
    """Write values of Python as a file would have them.

    Raises:
        TypeError: With the type alone; the value may be secret.
    """
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Promise):  # a lazy text
        return str(value)
    if isinstance(value, set | frozenset):
        return sorted(value, key=repr)
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, decimal.Decimal | uuid.UUID):
        return str(value)
    raise TypeError(f"a {type(value).__name__}")


@contextmanager
def _variable(value: str) -> Iterator[None]:
    former = os.environ.get(_VARIABLE)
    os.environ[_VARIABLE] = value
    try:
        yield
    finally:
        os.environ.pop(_VARIABLE)
        if former is not None:
            os.environ[_VARIABLE] = former
