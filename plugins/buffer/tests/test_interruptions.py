"""Exceptions that a signal handler raises, at any call of the application's thread."""

from __future__ import annotations

import random
import re
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from buffer_trials import Options, Track, Until, router

import eventtracking_buffer
from eventtracking import Event, Rejected, Tracker
from eventtracking_testkit.fakes import FailingBackend, RecordingBackend
from eventtracking_testkit.interrupts import uncovered_jumps_below

# The tests take SIGALRM for themselves, so that a thread must hold them to their time.
pytestmark = pytest.mark.timeout(120, method="thread")


class LateError(BaseException):
    """Raised by the handler; core would count a mere Exception, and go on."""


def odd_are_refused(events: Any) -> None:
    bad = {event.id: "odd" for event in events if event.data["n"] % 2}
    if bad:
        raise Rejected(bad)


def send(tracker: Tracker, number: int) -> str:
    """Hand an event to the buffer; return its id."""
    event = Event(name="x", data={"n": number})
    router(tracker).send([event])
    return event.id


def use(tracker: Tracker, number: int, kept: list[str]) -> None:
    kept.append(send(tracker, number))
    if number % 3 == 0:
        router(tracker).counts()
    if number % 7 == 0:
        router(tracker).flush(0.05)


def assert_all_is_there(tracker: Tracker, kept: list[str], until: Until) -> None:
    """Nothing for which emit() returned is lost, delivery goes on, and the law holds."""
    assert tracker.flush(20)
    until(lambda: tracker.stats()["b"].pending == 0)
    stats = tracker.stats()
    assert all(counts.balanced for counts in stats.values()), stats
    assert min(min(vars_of(counts)) for counts in stats.values()) >= 0
    letters = {letter.event.id for letter in router(tracker).letters.list()}
    delivered = {event.id for event in RecordingBackend.recorded[""]}
    lost = set(kept) - delivered
    assert not lost, (len(lost), stats)
    assert stats["b/picky"].dead_lettered == len(letters)
    assert stats["b/picky"].received == stats["b/ok"].received == stats["b"].received
    assert len(set(kept)) <= stats["b"].received


def vars_of(counts: Any) -> list[int]:
    names = ("received", "delivered", "filtered", "failed", "dead_lettered", "pending")
    return [getattr(counts, name) for name in names]


def interrupt_at_random(tracker: Tracker, rounds: int, kept: list[str]) -> int:
    """Raise from a handler at random moments of the use of a tracker; return how often."""
    armed, hits = False, 0

    def handler(_number: int, _frame: FrameType | None) -> None:
        nonlocal armed
        if armed:
            armed = False
            raise LateError

    former = signal.signal(signal.SIGALRM, handler)
    try:
        for number in range(rounds):
            try:
                try:
                    signal.setitimer(signal.ITIMER_REAL, random.uniform(0.00001, 0.0003))
                    armed = True
                    use(tracker, number, kept)
                finally:
                    armed = False
            except LateError:
                hits += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, former)
    return hits


def interrupt_at_lines(tracker: Tracker, rounds: int, kept: list[str]) -> int:
    """Raise at one line of the buffer after the other, as they run; return how often."""
    hits = 0
    for number in range(rounds):
        at, seen = number // 3, 0

        def trace(frame: FrameType, event: str, _argument: Any, at: int = at) -> Any:
            nonlocal seen
            file = frame.f_code.co_filename
            if "eventtracking_buffer" not in file or file.endswith("codec.py"):  # which is pure
                return None
            if event == "line":
                seen += 1
                if seen == at + 1:
                    sys.settrace(None)
                    raise LateError
            return trace

        former = sys.gettrace()
        sys.settrace(trace)
        try:
            use(tracker, number, kept)
        except LateError:
            hits += 1
        finally:
            sys.settrace(former)
    return hits


# A handler may raise in a callback of the collector or of a weak reference, which only warns.
UNRAISABLE = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@UNRAISABLE
@pytest.mark.parametrize("interrupt", [interrupt_at_random, interrupt_at_lines])
def test_an_exception_from_a_handler_breaks_nothing(
    storage: Options, track: Track, until: Until, interrupt: Callable[..., int]
) -> None:
    """send(), flush() and counts() are interrupted anywhere: no event for which send() returned is
    lost, the counts add up, also in the next process, and dead letters are there.
    """
    run(storage, track, until, interrupt, 300)


@UNRAISABLE
@pytest.mark.fuzz
@pytest.mark.timeout(600, method="thread")
@pytest.mark.parametrize("interrupt", [interrupt_at_random, interrupt_at_lines])
def test_thousands_of_exceptions_from_a_handler_break_nothing(
    storage: Options, track: Track, until: Until, interrupt: Callable[..., int]
) -> None:
    """The same, long."""
    run(storage, track, until, interrupt, 10_000)


def run(
    storage: Options, track: Track, until: Until, interrupt: Callable[..., int], rounds: int
) -> None:
    FailingBackend.actions[""] = odd_are_refused
    options = {**storage, "max_dead_letters": 100_000}
    backends = {"ok": {"plugin": "rec"}, "picky": {"plugin": "fail"}}
    tracker = track(options, **backends)
    tracker.open()
    kept: list[str] = []
    assert interrupt(tracker, rounds, kept) > 10
    assert_all_is_there(tracker, kept, until)
    before = tracker.stats()
    tracker.close(5)
    if storage["storage"] == "disk":
        again = track(options, **backends)
        again.open()
        kept_counts = again.stats()
        for path in ("b/ok", "b/picky"):
            assert vars_of(kept_counts[path]) == vars_of(before[path])


@UNRAISABLE
@pytest.mark.parametrize("delay_s", [0.00001, 0.0001, 0.001, 0.01])
def test_close_is_interrupted(storage: Options, track: Track, until: Until, delay_s: float) -> None:
    """close() is interrupted: closing again ends it, and on disk the next process has it all."""

    handled: list[int] = []

    def handler(number: int, _frame: FrameType | None) -> None:
        handled.append(number)
        raise LateError

    backends = {"ok": {"plugin": "rec"}, "picky": {"plugin": "rec", "key": "p"}}
    tracker = track(storage, **backends)
    tracker.open()
    kept = [send(tracker, number) for number in range(20)]
    former = signal.signal(signal.SIGALRM, handler)
    try:
        with suppress(LateError):
            signal.setitimer(signal.ITIMER_REAL, delay_s)
            router(tracker).close()
            while not handled:
                time.sleep(0.001)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, former)
    assert handled
    router(tracker).close()
    assert all(counts.balanced for counts in router(tracker).counts().values())
    if storage["storage"] == "disk":
        again = track(storage, **backends)
        again.open()
        until(lambda: again.stats()["b"].delivered == 20)
        assert {event.id for event in RecordingBackend.recorded[""]} == set(kept)


_OF_THE_HOUSEKEEPER = re.compile(
    r"(files|requests|takeover)\.py:|store\.py:\d+ in (refresh|_retire)$"
)


def test_no_loop_of_a_callers_thread_loses_its_handler() -> None:
    """On Python 3.12 and later some loops inside `try` or `with` skip their `finally` when a signal
    handler raises: the rooms that threads of an application enter have none.
    """
    root = Path(eventtracking_buffer.__file__).parent
    found = [
        line
        for room in ("delivery", "memory", "disk")
        for line in uncovered_jumps_below(root / room)
        if not _OF_THE_HOUSEKEEPER.match(line)
    ]
    assert found == []
