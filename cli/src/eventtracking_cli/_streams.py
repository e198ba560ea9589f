"""The standard streams as a shell may hand them over: closed, full, or of an encoding that takes
less than Unicode.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import click

__all__ = ["EventFile", "OutputError", "mended_streams"]


class OutputError(OSError):
    """Raised when a standard stream cannot be written, so that it is not taken for an error of the
    command itself.
    """


class _Descriptor(io.FileIO):
    """A file descriptor that belongs to other code."""

    is_over = False
    """Whether the command is, and what it could not write has been told: the interpreter would tell
    it again when it lets go of the stream.
    """

    def write(self, data: Any) -> int:
        """Write the text, escaped where needed."""
        if self.is_over:
            return len(data)
        try:
            return super().write(data)
        except OSError as error:
            raise OutputError(error.errno, error.strerror) from error


@contextmanager
def mended_streams() -> Iterator[None]:
    """Make the standard streams usable until the end of the block.

    A closed one is the null device, so that no file of ours gets its number. Text that the encoding
    does not take is escaped. A failed write raises `OutputError`.
    """
    former = sys.stdin, sys.stdout, sys.stderr
    descriptors: list[_Descriptor] = []
    with ExitStack() as opened:
        sys.stdin = sys.stdin or opened.enter_context(_null("r"))
        sys.stdout, sys.stderr = (
            opened.enter_context(_null("w")) if stream is None else _mended(stream, descriptors)
            for stream in former[1:]
        )
        try:
            yield
        finally:
            for stream in (sys.stdout, sys.stderr):
                with suppress(OSError, ValueError):  # told already, or closed by the command
                    stream.flush()
            for descriptor in descriptors:
                descriptor.is_over = True
            sys.stdin, sys.stdout, sys.stderr = former


def _null(mode: str) -> Any:
    return Path(os.devnull).open(mode, encoding="utf-8")


def _mended(stream: Any, descriptors: list[_Descriptor]) -> Any:
    buffer = getattr(stream, "buffer", None)
    if not isinstance(
        getattr(buffer, "raw", buffer), io.FileIO
    ):  # it has no `raw` where PYTHONUNBUFFERED is set
        return stream  # no file: a test's, or an application's
    stream.flush()
    raw = _Descriptor(stream.fileno(), "w", closefd=False)
    descriptors.append(raw)
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=stream.encoding,
        errors="backslashreplace",  # a name must not end a command, whatever the encoding
        line_buffering=stream.line_buffering,
    )


class EventFile(click.File):
    """A file of events, or `-`, the standard input, unless that was closed."""

    def __init__(self) -> None:
        super().__init__("rb")

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Open the file."""
        if (
            value == "-" and getattr(sys.stdin, "name", None) == os.devnull
        ):  # ours: that of a shell is "<stdin>"
            self.fail("'-': the standard input is closed", param, ctx)
        return super().convert(value, param, ctx)
