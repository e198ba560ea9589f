"""Where the lines of standard-library loggers go while a command sends events: an application would
decide, here we must.

For the commands of plugins too: without it, the events that such a command sends to the plugin
logger would be written nowhere.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
from rich.console import Console

from eventtracking_cli.output import printable

__all__ = ["log_option", "logging_to"]


def log_option(command: Any) -> Any:
    """Add `--log FILE` to a command; its function is given `log_path`."""
    option = click.option(
        "--log",
        "log_path",
        metavar="FILE",
        type=click.Path(dir_okay=False, writable=True),
        help=(
            "Append what is logged (such as by the plugin logger) to FILE, instead of the standard"
            " error."
        ),
    )
    return option(command)


class _ForTerminal(logging.Formatter):
    """Escapes control characters: a reason, or a logged event, holds any text."""

    def format(self, record: logging.LogRecord) -> str:
        """Make the text of one record."""
        return printable(super().format(record), keep_lines=True)


class _ConsoleHandler(logging.Handler):
    """Writes above a progress bar instead of into it."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record as it is, of any length."""
        self._console.print(self.format(record), soft_wrap=True, emoji=False)


@contextmanager
def logging_to(log_path: str | None, console: Console | None = None) -> Iterator[None]:
    """Send log records, from INFO up and as they are, to a file or to the standard error.

    Args:
        log_path: The file.
        console: Where to print instead of the standard error, if a progress bar is on it.
    """
    handler = _handler(log_path, console)
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.setLevel(level)
        root.removeHandler(handler)
        handler.close()


def _handler(log_path: str | None, console: Console | None) -> logging.Handler:
    if log_path is not None:
        return _file_handler(log_path)
    handler = logging.StreamHandler(sys.stderr) if console is None else _ConsoleHandler(console)
    if sys.stderr.isatty():
        handler.setFormatter(_ForTerminal())
    return handler


def _file_handler(log_path: str) -> logging.Handler:
    try:
        return logging.FileHandler(log_path, encoding="utf-8")
    except OSError as error:
        raise click.UsageError(f"--log {log_path}: {error.strerror}") from error
