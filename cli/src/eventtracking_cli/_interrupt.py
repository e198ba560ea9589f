"""The effect of Ctrl-C on a command that sends events: the first one ends it with the counts, the
second one ends the process.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import Final, TypeVar

import attrs

from eventtracking import Tracker

__all__ = ["Interrupt", "catching_interrupts", "closing", "drain"]

_Result = TypeVar("_Result")

_HURRIED_FLUSH_S: Final = 2.0
"""For what was sent before the interrupt."""
_HURRIED_CLOSE_S: Final = 0.5
_STDERR: Final = 2
_SHOW_CURSOR: Final = b"\x1b[?25h\n"


@attrs.define(eq=False)
class Interrupt:
    """Whether the user has pressed Ctrl-C.

    An event on its way is not torn apart: the command asks between two events.
    """

    is_set: bool = False
    _waits: bool = attrs.field(init=False, default=False)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Let Ctrl-C raise KeyboardInterrupt inside the block, where nothing is half done; one that
        came before is raised now.
        """
        self._waits = True  # before the look, so that none comes between the two
        try:
            if self.is_set:
                raise KeyboardInterrupt
            yield
        finally:
            self._waits = False

    def wait_for(self, work: Callable[[], _Result]) -> _Result:
        """Do slow work on a thread of its own, so that Ctrl-C ends the wait, and tears
        nothing.

        Raises:
            KeyboardInterrupt: At Ctrl-C. The work goes on, for as long as the process.
        """
        future: Future[_Result] = Future()

        def run() -> None:
            try:
                future.set_result(work())
            except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
                future.set_exception(error)

        with self.waiting():
            threading.Thread(target=run, name="eventtracking-cli", daemon=True).start()
            return future.result()

    def take(self, *_: object) -> None:
        """Handle the signal."""
        if self.is_set:
            _end_now()
        self.is_set = True
        if self._waits:
            raise KeyboardInterrupt


def _end_now() -> None:
    """End as Ctrl-C ends any process, without a last word; but a progress bar may have hidden the
    cursor.
    """
    if os.isatty(_STDERR):
        os.write(_STDERR, _SHOW_CURSOR)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGINT)


@contextmanager
def catching_interrupts() -> Iterator[Interrupt]:
    """Handle Ctrl-C until the end of the block; where it is ignored, or on a thread that can handle
    none, leave it as it is.
    """
    interrupt = Interrupt()
    former = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or former in (
        signal.SIG_IGN,
        None,
    ):
        yield interrupt
        return
    signal.signal(signal.SIGINT, interrupt.take)
    try:
        yield interrupt
    finally:
        signal.signal(signal.SIGINT, former)


@contextmanager
def closing(tracker: Tracker, interrupt: Interrupt) -> Iterator[Tracker]:
    """Close a tracker at the end of the block, soon if the user has no patience."""
    try:
        yield tracker
    finally:
        with suppress(KeyboardInterrupt):
            interrupt.wait_for(tracker.close)
        tracker.close(_HURRIED_CLOSE_S)  # does nothing after a whole one


def drain(tracker: Tracker, timeout_s: float, interrupt: Interrupt) -> bool:
    """Deliver the events that routers hold, until Ctrl-C.

    After a Ctrl-C that came before, deliver only those that take a moment.

    Returns:
        Whether nothing is left.
    """
    if interrupt.is_set:
        return tracker.flush(min(timeout_s, _HURRIED_FLUSH_S))
    try:
        return interrupt.wait_for(lambda: tracker.flush(timeout_s))
    except KeyboardInterrupt:
        interrupt.is_set = True  # where the handler is not ours
        return tracker.flush(0.0)
