"""How a command line says which dead letters it means; the same wherever dead letters are kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

from eventtracking_cli.config import config_option
from eventtracking_cli.output import json_option

__all__ = ["json_option", "selecting"]

_Command = TypeVar("_Command", bound=Callable[..., Any])
_UNITS: Final = {"s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}


def _read_age(
    _context: click.Context, _parameter: click.Parameter, value: str | None
) -> float | None:
    """Read a number of seconds, or one with a unit: 90, 15m, 12h, 7d."""
    if value is None:
        return None
    number, unit = (value[:-1], value[-1]) if value[-1:] in _UNITS else (value, "s")
    try:
        return float(number) * _UNITS[unit]
    except ValueError:
        text = (
            f"{value!r} is no age; accepted are seconds, or a number with s, m, h or d, such as 12h"
        )
        raise click.BadParameter(text) from None


def _read_context(
    _context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]
) -> dict[str, str] | None:
    """Read pairs of a key and a value."""
    found = dict(value.partition("=")[::2] for value in values if "=" in value)
    if len(found) < len(set(values)):
        raise click.BadParameter("accepted is KEY=VALUE, such as user_id=17")
    return found or None


def selecting(command: _Command) -> _Command:
    """Give a command the config, and the filters that make a `Selection` of dead letters."""
    options = [
        config_option,
        click.option("--route", metavar="PATH", help="The route where they died, or one above it."),
        click.option(
            "--name", metavar="NAME", help="The event's name; `edx.*` for all that start so."
        ),
        click.option("--reason", metavar="TEXT", help="A part of the reason."),
        click.option(
            "--context",
            multiple=True,
            callback=_read_context,
            metavar="KEY=VALUE",
            help="The event's context has this; may be repeated.",
        ),
        click.option(
            "--older-than",
            "older_than_s",
            callback=_read_age,
            metavar="AGE",
            help="Failed at least so long ago: 90, 15m, 12h, 7d.",
        ),
        click.option(
            "--newer-than",
            "newer_than_s",
            callback=_read_age,
            metavar="AGE",
            help="Failed at most so long ago.",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command
