"""Tables and trees for a person, in any terminal, and errors without a secret."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Iterator, Sequence
from typing import Final

import click
from rich.console import Console, RenderableType
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from eventtracking import EventTrackingError
from eventtracking_cli.output import printable

__all__ = ["describe_error", "show", "show_numbers", "show_table", "stderr_console"]

_PIPED_WIDTH: Final = 200
"""Columns for a table that no terminal shows, so that scripts and logs get whole lines."""
_NARROW: Final = 80
"""Columns below which the cells of a table of texts would be broken into pieces."""


def show(renderable: RenderableType) -> None:
    """Print a table or a tree on the standard output."""
    _stdout_console().print(renderable)


def _stdout_console() -> Console:
    wide = None if sys.stdout.isatty() or "COLUMNS" in os.environ else _PIPED_WIDTH
    return Console(file=sys.stdout, width=wide, highlight=False, markup=False)


def stderr_console() -> Console:
    """Return a console on the standard error, for progress."""
    return Console(file=sys.stderr, highlight=False, markup=False)


def show_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table of texts; on a narrow terminal a block for each row, with a line for each cell
    that is not empty.

    Args:
        columns: The headings.
        rows: One cell for each heading. None of it is markup.
    """
    console = _stdout_console()
    if console.width >= _NARROW:
        console.print(_table(columns, rows))
        return
    for first, *others in rows:
        click.echo(printable(first))
        for column, cell in zip(columns[1:], others, strict=True):
            if cell:
                click.echo(f"  {column}: {printable(cell)}")


def show_numbers(columns: Sequence[str], rows: Sequence[Sequence[object]], always: str) -> None:
    """Print a table whose columns but the first are numbers; where it does not fit, a block for
    each row, without the noughts.

    Args:
        columns: The headings.
        rows: One cell for each heading.
        always: The column that a block has even if it is nought.
    """
    console = _stdout_console()
    table = _table(columns, rows, numbers=True)
    if Measurement.get(console, console.options, table).maximum < console.width:
        console.print(table)
        return
    for first, *numbers in rows:
        click.echo(printable(first))
        named = [
            f"{name}\xa0{n}"
            for name, n in zip(columns[1:], numbers, strict=True)
            if n or name == always
        ]
        for line in _wrapped("  ".join(named), console.width):
            click.echo(line)


def _wrapped(text: str, width: int) -> Iterator[str]:
    """Break into indented lines at spaces; those that must not break a line become spaces
    afterwards.
    """
    for line in textwrap.wrap(
        text, max(width, 1), initial_indent="  ", subsequent_indent="  ", break_long_words=False
    ):
        yield line.replace("\xa0", " ")


def _table(
    columns: Sequence[str], rows: Sequence[Sequence[object]], numbers: bool = False
) -> Table:
    made = Table(header_style="bold")
    for index, column in enumerate(columns):
        made.add_column(column, justify="right" if numbers and index else "left", overflow="fold")
    for row in rows:
        made.add_row(*(Text(printable(cell)) for cell in row))
    return made


def describe_error(error: BaseException) -> str:
    """Name an error in words that are safe to show: a driver's text may hold a password or an
    event's values.
    """
    name = type(error).__name__
    if isinstance(error, EventTrackingError):
        return str(error) or name
    if isinstance(error, OSError) and error.strerror:
        return f"{name}: {error.strerror}"
    return name
