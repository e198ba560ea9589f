"""What the commands print with: tables and trees for a person, JSON for a script, and never a payload or a secret."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any, Final

import click
import msgspec
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from eventtracking import EventTrackingError

__all__ = ["describe_error", "json_option", "print_json", "show", "stderr_console", "table", "warn"]

_PIPED_WIDTH: Final = 200
"""Columns for a table that no terminal shows, so that scripts and logs get whole lines."""

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
"""Add `--json` to a command; its function is given `as_json`."""


def show(renderable: RenderableType) -> None:
    """Print a table or a tree on the standard output."""
    wide = None if sys.stdout.isatty() or "COLUMNS" in os.environ else _PIPED_WIDTH
    Console(file=sys.stdout, width=wide, highlight=False, markup=False).print(renderable)


def stderr_console() -> Console:
    """Return a console on the standard error, for progress."""
    return Console(file=sys.stderr, highlight=False, markup=False)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], numbers: bool = False) -> Table:
    """Make a table; a cell that is no text becomes text, and none of it is markup.

    Args:
        columns: The headings.
        rows: One cell for each heading.
        numbers: Whether all columns but the first are numbers.
    """
    made = Table(header_style="bold")
    for index, column in enumerate(columns):
        made.add_column(column, justify="right" if numbers and index else "left", overflow="fold")
    for row in rows:
        made.add_row(*(Text(str(cell)) for cell in row))
    return made


def print_json(value: Any) -> None:
    """Print a value as indented JSON."""
    click.echo(msgspec.json.format(msgspec.json.encode(value, enc_hook=str), indent=2).decode())


def warn(text: str) -> None:
    """Say something on the standard error that does not end the command."""
    click.echo(f"warning: {text}", err=True)


def describe_error(error: BaseException) -> str:
    """Name an error in words that are safe to show: a driver's text may hold a password or an event's values."""
    name = type(error).__name__
    if isinstance(error, EventTrackingError):
        return str(error) or name
    if isinstance(error, OSError) and error.strerror:
        return f"{name}: {error.strerror}"
    return name
