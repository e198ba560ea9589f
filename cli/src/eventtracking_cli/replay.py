"""The command `replay`: a file of events through the config."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import BinaryIO, Final

import attrs
import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)

from eventtracking import DataError, Event, Tracker
from eventtracking_cli._counts import failures_since
from eventtracking_cli._documents import Line, read_lines
from eventtracking_cli._interrupt import Interrupt, catching_interrupts, closing, drain
from eventtracking_cli._streams import EventFile
from eventtracking_cli._terminal import stderr_console
from eventtracking_cli.config import config_option, load_tracker
from eventtracking_cli.emit import open_all, report, timeout_option, warn_of_rest
from eventtracking_cli.logs import log_option, logging_to
from eventtracking_cli.output import json_option, printable, warn

__all__ = ["replay_command"]

_LOOK_EVERY: Final = 1_000
"""Events between two looks at what is pending."""
_MOST_PENDING: Final = 5_000
"""Events that a route may hold before the replay waits for it: a bounded buffer must not overflow
because a file is long.
"""


@click.command("replay", short_help="Send a file of events through the config.")
@click.argument("file", type=EventFile(), metavar="FILE.jsonl")
@config_option
@timeout_option
@log_option
@json_option
@click.option(
    "--as-written",
    is_flag=True,
    help="Keep data that is text or a list as it is, as event-tracking wrote it.",
)
@click.pass_context
def replay_command(
    ctx: click.Context,
    file: BinaryIO,
    config_path: str,
    timeout_s: float,
    log_path: str | None,
    as_json: bool,
    as_written: bool,
) -> None:
    """Send the events of FILE.jsonl (or -, the standard input) through the config, one JSON object
    a line.

    Events keep their time and id, where they have one. The older form of Open edX tracking logs
    (`event_type`, `time`, `event`) is understood. A malformed line is reported and does not stop
    the rest. Ends with the counts of every route; exit status 1 if a line was malformed or an event
    failed. Ctrl-C ends it after the event that is on its way, with the counts; a second one ends it
    at once.
    """
    with catching_interrupts() as interrupt, _progress(file) as (progress, task):
        console = None if progress.disable else progress.console
        with (
            logging_to(log_path, console),
            closing(load_tracker(config_path), interrupt) as tracker,
        ):
            before = open_all(tracker, interrupt)
            replay = _Replay(tracker, interrupt, timeout_s, console, as_written)
            replay.run(file, partial(progress.advance, task))
            finished = drain(tracker, timeout_s, interrupt)
            progress.stop()
            report(tracker, as_json)
            failed = failures_since(before, tracker.stats())
    replay.conclude(finished)
    if replay.is_flawed or failed or not finished:
        ctx.exit(1)


@attrs.define
class _Replay:
    """Sends events no faster than the routes can take them, and counts the lines that are none."""

    tracker: Tracker
    interrupt: Interrupt
    timeout_s: float
    console: Console | None
    as_written: bool
    _sent: int = attrs.field(init=False, default=0)
    _malformed: int = attrs.field(init=False, default=0)
    _is_cut: bool = attrs.field(init=False, default=False)
    _is_patient: bool = attrs.field(init=False, default=True)

    @property
    def is_flawed(self) -> bool:
        """Whether not every line was sent."""
        return self.interrupt.is_set or self._is_cut or self._malformed > 0

    def run(self, lines: Iterable[bytes], advance: Callable[[int], None]) -> None:
        """Send the event of each line, and tell its length in bytes; an interrupt from the keyboard
        is the end of the lines.
        """
        reading = read_lines(lines, self.as_written)
        try:
            while (line := self._next(reading)) is not None:
                problem = line.problem if line.event is None else self._send(line.event)
                if problem:
                    self._malformed += 1
                    self._complain(f"line {line.number}: {problem}")
                advance(line.length_bytes)
        except KeyboardInterrupt:
            self.interrupt.is_set = True  # where the handler is not ours

    def _next(self, reading: Iterator[Line]) -> Line | None:
        """Wait for a line; None at the end, be it that the rest cannot be read."""
        try:
            with self.interrupt.waiting():
                return next(reading, None)
        except OSError as error:
            self._is_cut = True
            self._complain(f"the file cannot be read further: {error.strerror}")
            return None

    def _send(self, event: Event) -> str:
        """Send one event; return its fault, for a strict tracker."""
        try:
            self.tracker.submit(event, as_written=self.as_written)
        except DataError as error:
            return str(error)
        self._sent += 1
        if self._is_patient and self._sent % _LOOK_EVERY == 0:
            self._wait_if_far_behind()
        return ""

    def _wait_if_far_behind(self) -> None:
        if self._is_far_behind():
            # a dead destination is waited for once
            self._is_patient = self.interrupt.wait_for(lambda: self.tracker.flush(self.timeout_s))

    def _is_far_behind(self) -> bool:
        return any(counts.pending > _MOST_PENDING for counts in self.tracker.stats().values())

    def _complain(self, text: str) -> None:
        if self.console is None:
            click.echo(printable(text), err=True)
        else:
            self.console.print(printable(text))

    def conclude(self, finished: bool) -> None:
        """Tell the problems at the end."""
        if self.interrupt.is_set:
            warn(f"interrupted after {self._sent} event{'' if self._sent == 1 else 's'}")
        if self._malformed:
            warn(
                f"{self._malformed} malformed"
                f" {'line was' if self._malformed == 1 else 'lines were'} left out"
            )
        if not finished:
            warn_of_rest(self.timeout_s, self.interrupt)


@contextmanager
def _progress(file: BinaryIO) -> Iterator[tuple[Progress, TaskID]]:
    """Show how much of the file is done, if the standard error is a terminal."""
    console = stderr_console()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        DownloadColumn(),
        TimeElapsedColumn(),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        yield progress, progress.add_task("replay", total=_size(file))


def _size(file: BinaryIO) -> int | None:
    """The bytes of a regular file; None for a stream without an end."""
    try:
        return os.fstat(file.fileno()).st_size or None
    except (OSError, ValueError):  # no file of the operating system
        return None
