"""The message when the code of a command breaks: one line, with whose command it is and where it
broke.
"""

from __future__ import annotations

import os
import traceback
from typing import IO, Any, Final

import click

from eventtracking.errors import locate
from eventtracking_cli.output import printable

__all__ = ["Crash"]

_DEBUG_VARIABLE: Final = "EVENTTRACKING_DEBUG"
_ABOVE: Final = frozenset({"click", "eventtracking_cli"})
"""The packages that call a command."""


class Crash(click.ClickException):
    """Ends the command with a message, and with the traceback if EVENTTRACKING_DEBUG is set.

    Exit status 1.

    Args:
        command: Its name.
        owner: The distribution that it comes from, and its version.
        error: The error that it raised.
    """

    def __init__(self, command: str | None, owner: str, error: Exception) -> None:
        self._traceback = (
            "".join(traceback.format_exception(error)) if os.environ.get(_DEBUG_VARIABLE) else ""
        )
        advice = "" if self._traceback else f"; {_DEBUG_VARIABLE}=1 shows the traceback"
        text = (
            f"the command {command!r} of {owner} raised {_described(error)}"
            f" ({_place(error)}){advice}"
        )
        super().__init__(printable(text, keep_lines=True))

    def show(self, file: IO[Any] | None = None) -> None:
        """Print it, by default on the standard error."""
        if self._traceback:
            click.echo(printable(self._traceback, keep_lines=True), file=file, err=True, nl=False)
        super().show(file)


def _described(error: Exception) -> str:
    name = type(error).__name__
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - a plugin's own class may fail to tell itself
        return name
    return f"{name}: {text}" if text else name


def _place(error: Exception) -> str:
    """Tell where the command broke, in the first code that is neither the command line's nor
    click's.
    """
    trace = error.__traceback__
    while (
        trace is not None
        and trace.tb_next is not None
        and _package(trace.tb_next.tb_frame.f_globals) in _ABOVE
    ):
        trace = trace.tb_next
    return locate(error.with_traceback(trace))


def _package(module: dict[str, object]) -> str:
    return str(module.get("__name__", "")).partition(".")[0]
