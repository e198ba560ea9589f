"""The contract of backends over their life: opening, flushing, closing, forks and signals."""

from __future__ import annotations

import gc
import os
import select
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Final

import pytest

from eventtracking_testkit.contracts._destination import Destination, Stored, call, plain
from eventtracking_testkit.forks import run_in_fork
from eventtracking_testkit.samples import sample_event, sample_events

__all__ = ["LifeContract"]

_AT_ONCE_S: Final = 2.0
"""No time at all, on a machine that does much else."""


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
        backend.send(events)
        self.settle(backend)
        call(backend, "close")
        call(backend, "close")
        self.check_stored(stored, events)

    def test_flush_after_close(self, make: Callable[[], Any], stored: Stored | None) -> None:
        """A flush after the close is no error and loses nothing."""
        backend, events = make(), sample_events(3)
        backend.send(events)
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
            backend.send(sample_events(1))
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
        backend.send(before)
        self.settle(backend)

        def child() -> None:
            self.open_and_send(backend, within)
            self.settle(backend)
            call(backend, "close")
            gc.collect()

        run_in_fork(child)
        self.check_stored(stored, [*before, *within])
        backend.send([*within, *after])
        self.settle(backend)
        self.check_stored(stored, [*before, *within, *after])

    @pytest.mark.process
    def test_a_forked_child_that_does_nothing(self, backend: Any, stored: Stored | None) -> None:
        """A child that inherits an open backend and ends, collecting garbage, does the parent no
        harm.
        """
        before, after = sample_events(2), sample_events(2)
        backend.send(before)
        run_in_fork(gc.collect)
        backend.send(after)
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
        backend.send(before)
        self.settle(backend)
        has_opened, has_closed = os.pipe(), os.pipe()

        def child() -> None:
            self.open_and_send(backend, within)
            self.settle(backend)
            os.write(has_opened[1], b"x")
            os.read(has_closed[0], 1)
            backend.send(alone)
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
        """A signal handler that flushes and at last closes, in the middle of `send`, never hangs
        and loses nothing acknowledged.
        """
        batches = [sample_events(3) for _ in range(150)]
        marker = sample_event(name="testkit.end")

        def child() -> None:
            backend = self.build(options)
            call(backend, "open")
            with _interrupted_by(lambda: call(backend, "flush", 0.01)):
                for batch in batches:
                    backend.send(batch)
            self.settle(backend)
            with _interrupted_by(lambda: call(backend, "close")), suppress(Exception):
                for _ in range(50):
                    backend.send((marker,))
            call(backend, "close")

        run_in_fork(child)
        if stored is not None:
            found = {plain(document)["id"] for document in stored()} - {marker.id}
            assert found == {event.id for batch in batches for event in batch}


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


@contextmanager
def _interrupted_by(handler: Callable[[], object]) -> Iterator[None]:
    """Interrupt this thread every half millisecond of the processor's time, for the length of a
    block.
    """
    before = signal.signal(signal.SIGVTALRM, lambda *_: handler())
    signal.setitimer(signal.ITIMER_VIRTUAL, 0.0005, 0.0005)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
