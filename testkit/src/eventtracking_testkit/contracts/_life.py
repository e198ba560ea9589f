"""The contract of backends over their life: opening, flushing, closing, forks and signals."""

from __future__ import annotations

import gc
import os
import random
import select
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final

import pytest
from typing_extensions import Self

from eventtracking_testkit.contracts._destination import Destination, Stored, call, plain
from eventtracking_testkit.forks import run_in_fork
from eventtracking_testkit.samples import sample_event, sample_events

__all__ = ["LifeContract"]

_AT_ONCE_S: Final = 2.0
"""No time at all, on a machine that does much else."""
_INTERRUPTS: Final = 40
_MIN_SENDS: Final = 10
_MAX_SENDS: Final = 2_000


class LifeContract(Destination):
    """The tests of `BackendContract` that are about its life."""

    def test_close_without_open(self, options: Mapping[str, Any]) -> None:
        """Closing what was never opened is no error."""
        backend = self.build(options)
        call(backend, "flush", 1.0)
        call(backend, "close")

    def test_close_twice(self, make: Callable[[], Any], stored: Stored | None) -> None:
        """A second close is no error and loses nothing."""
        backend, events = make(), sample_events(3)
        self.send(backend, events)
        self.settle(backend)
        call(backend, "close")
        call(backend, "close")
        self.check_stored(stored, events)

    def test_flush_after_close(self, make: Callable[[], Any], stored: Stored | None) -> None:
        """A flush after the close is no error and loses nothing."""
        backend, events = make(), sample_events(3)
        self.send(backend, events)
        self.settle(backend)
        call(backend, "close")
        call(backend, "flush", 1.0)
        self.check_stored(stored, events)

    @pytest.mark.process
    def test_flush_with_nothing_to_do(self, options: Mapping[str, Any]) -> None:
        """A flush when all is delivered says that nothing is left; with no time given it takes
        none, also after a `send`.

        In a child, so that one which hangs stops nobody.
        """

        def child() -> None:
            backend = self.build(options)
            call(backend, "open")
            assert _flush_at_once(backend) is not False
            self.send(backend, sample_events(1))
            _flush_at_once(backend)
            self.settle(backend)
            assert call(backend, "flush", 10.0) is not False
            call(backend, "close")

        run_in_fork(child)

    @pytest.mark.process
    def test_a_forked_child(self, backend: Any, stored: Stored | None) -> None:
        """A forked child opens and sends on its own; the parent's connection is as good afterwards
        as before.

        The parent then sends what the child has sent already: a destination stores each id once,
        whichever process sent it.
        """
        before, within, after = sample_events(2), sample_events(2), sample_events(2)
        self.send(backend, before)
        self.settle(backend)

        def child() -> None:
            self.open_and_send(backend, within)
            self.settle(backend)
            call(backend, "close")
            gc.collect()

        run_in_fork(child)
        self.check_stored(stored, [*before, *within])
        self.send(backend, [*within, *after])
        self.settle(backend)
        self.check_stored(stored, [*before, *within, *after])

    @pytest.mark.process
    def test_a_forked_child_that_does_nothing(self, backend: Any, stored: Stored | None) -> None:
        """A child that inherits an open backend and ends, collecting garbage, does the parent no
        harm.
        """
        before, after = sample_events(2), sample_events(2)
        self.send(backend, before)
        run_in_fork(gc.collect)
        self.send(backend, after)
        self.settle(backend)
        self.check_stored(stored, [*before, *after])

    @pytest.mark.process
    def test_a_forked_child_outlives_its_parents_connection(
        self, backend: Any, stored: Stored | None
    ) -> None:
        """When the parent closes, a child that opened on its own goes on, and what it sends then is
        kept.

        SQLite loses it, if the parent's connection was open during the fork: it notes locks per
        process, and a child inherits the notes without the locks.
        """
        before, within, alone = sample_events(2), sample_events(2), sample_events(2)
        self.send(backend, before)
        self.settle(backend)
        has_opened, has_closed = os.pipe(), os.pipe()

        def child() -> None:
            self.open_and_send(backend, within)
            self.settle(backend)
            os.write(has_opened[1], b"x")
            os.read(has_closed[0], 1)
            self.send(backend, alone)
            self.settle(backend)
            call(backend, "close")

        def parent() -> None:
            _wait_for_byte(has_opened[0])
            call(backend, "close")
            os.write(has_closed[1], b"x")

        run_in_fork(child, meanwhile=parent)
        for descriptor in (*has_opened, *has_closed):
            os.close(descriptor)
        self.check_stored(stored, [*before, *within, *alone])

    @pytest.mark.process
    def test_signals_in_the_middle(self, options: Mapping[str, Any], stored: Stored | None) -> None:
        """A signal handler that flushes and at last closes, in the middle of `send` and of its
        system calls, never hangs and loses nothing acknowledged.
        """
        batches = [sample_events(3) for _ in range(_MAX_SENDS)]
        marker = sample_event(name="testkit.end")
        told, tell = os.pipe()

        def child() -> None:
            backend = self.build(options)
            call(backend, "open")
            sends = 0
            with _Interrupts(lambda: call(backend, "flush", 0.01)) as interrupts:
                while sends < _MAX_SENDS and (sends < _MIN_SENDS or interrupts.count < _INTERRUPTS):
                    self.send(backend, batches[sends])
                    sends += 1
            os.write(tell, sends.to_bytes(4, "little"))
            self.settle(backend)
            with _Interrupts(lambda: call(backend, "close"), at_most=3), suppress(Exception):
                for _ in range(50):
                    backend.send((marker,))
            call(backend, "close")

        run_in_fork(child)
        sends = int.from_bytes(os.read(told, 4), "little")
        for descriptor in (told, tell):
            os.close(descriptor)
        if stored is not None:
            found = {plain(document)["id"] for document in stored()} - {marker.id}
            missing = {event.id for batch in batches[:sends] for event in batch} - found
            assert not missing, f"{len(missing)} events are lost that `send` had acknowledged"


def _flush_at_once(backend: Any) -> Any:
    """Flush with no time given, and look at the clock.

    Raises:
        AssertionError: If it took longer than a slow machine explains.
    """
    begin = time.monotonic()
    result = call(backend, "flush", 0.0)
    took_s = time.monotonic() - begin
    assert took_s < _AT_ONCE_S, f"flush(0.0) took {took_s:.1f} s"
    return result


def _wait_for_byte(descriptor: int) -> None:
    """Wait for the other side, but not for ever: it may have failed, and tell so on its own."""
    select.select([descriptor], [], [], 60.0)


class _Interrupts:
    """Interrupt this thread again and again for the length of a block, in system calls too.

    The timer is started anew when the handler has returned, so that the block goes on under load.
    """

    def __init__(self, handler: Callable[[], object], at_most: int = sys.maxsize) -> None:
        self.count = 0
        self._at_most = at_most
        self._handler = handler
        self._delays = random.Random(0)  # noqa: S311 - not for secrets

    def __enter__(self) -> Self:
        self._before = signal.signal(signal.SIGALRM, self._interrupt)
        self._start_timer()
        return self

    def _start_timer(self) -> None:
        signal.setitimer(signal.ITIMER_REAL, self._delays.uniform(0.00002, 0.0002))

    def _interrupt(self, *_: object) -> None:
        self.count += 1
        try:
            self._handler()
        finally:
            if self.count < self._at_most:
                self._start_timer()

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGALRM, signal.SIG_IGN)  # one may be on its way
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self._before)
