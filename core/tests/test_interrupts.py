"""An exception from a signal handler, at every call within an emit, a delivery, a flush, a close.

CPython runs signal handlers when a Python function is entered and when a call of C has returned.
The trial raises at each of these points in turn, until a run comes through untouched.
"""

from __future__ import annotations

import gc
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from eventtracking_fakes import RECORDED, ROUTERS

import eventtracking
from eventtracking import Event, Tracker
from eventtracking_testkit.interrupts import uncovered_jumps, uncovered_jumps_below

TREES: dict[str, dict[str, Any]] = {
    "one backend": {"end": {"plugin": "recording", "key": "end"}},
    "a group": {
        "g": {
            "processors": [{"plugin": "by_name", "name": "x"}, {"plugin": "stamp"}],
            "backends": {
                "a": {"plugin": "recording", "key": "a"},
                "b": {"plugin": "recording", "key": "b", "processors": [{"plugin": "drop"}]},
            },
        }
    },
    "a router that passes through": {
        "p": {
            "plugin": "passing",
            "key": "p",
            "backends": {
                "a": {"plugin": "recording", "key": "a"},
                "g": {"backends": {"b": {"plugin": "recording", "key": "b"}}},
            },
        }
    },
}
HELD = {"h": {"plugin": "deferring", "key": "h", "backends": TREES["a router that passes through"]}}


class Interruption(BaseException):
    """What a signal handler raises."""


def interrupted(number: int, action: Callable[..., object], *given: object) -> bool:
    """Raise at one call within an action; return whether it came so far."""
    left = number

    def profile(frame: FrameType, kind: str, _argument: object) -> None:
        nonlocal left
        if kind not in ("call", "c_return") or frame.f_code is interrupted.__code__:
            return
        left -= 1
        if left < 0:
            sys.setprofile(None)
            raise Interruption

    sys.setprofile(profile)
    try:
        action(*given)
    except Interruption:
        return True
    finally:
        sys.setprofile(None)
    return left < 0  # it was raised where nothing is passed on, such as in a finaliser


def check_settled(made: Tracker) -> None:
    for path, counts in made.stats().items():
        assert counts.balanced, (path, counts)
        assert counts.pending == 0, (path, counts)


@pytest.fixture(autouse=True)
def no_collection() -> Iterator[None]:
    """Keep finalisers of other tests from running within a trial."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.timeout(180)
@pytest.mark.parametrize("tree", TREES.values(), ids=TREES)
@pytest.mark.parametrize("first", [True, False], ids=["opening", "open"])
def test_an_emit_interrupted_anywhere_is_counted(tree: dict[str, Any], first: bool) -> None:
    """Nothing stays pending, an event that is counted as delivered has arrived, and the next emit
    of the thread is sent at once.
    """
    number, ran = 0, True
    while ran:
        made = Tracker.from_config({"backends": tree})
        if not first:
            made.emit("x")
        ran = interrupted(number, made.emit, "x")
        check_settled(made)
        before = {key: len(events) for key, events in RECORDED.items()}
        made.emit("x")
        assert all(len(events) > before.get(key, 0) for key, events in RECORDED.items() if events)
        check_settled(made)
        for path, counts in made.stats().items():
            arrived = RECORDED.get(path.rpartition("/")[2])
            if arrived is not None:
                assert counts.delivered <= len(arrived), (number, path)
        RECORDED.clear()
        made.close()
        number += 1
    assert number > 5


@pytest.mark.timeout(180)
def test_a_delivery_interrupted_anywhere_goes_on() -> None:
    """The router that holds delivers the rest, each event arrives, and the law holds."""
    number, ran = 0, True
    while ran:
        made = Tracker.from_config({"backends": HELD})
        for _ in range(3):
            made.emit("x")
        holder = ROUTERS["h"]
        ids = set(holder.held)
        ran = interrupted(number, holder.downstream.deliver, list(holder.held.values()))
        holder.deliver()
        assert not holder.held, number
        for key in ("a", "b"):
            assert {event.id for event in RECORDED[key]} == ids, number
        check_settled(made)
        assert made.stats()["h"].delivered == 3
        RECORDED.clear()
        made.close()
        number += 1
    assert number > 20


@pytest.mark.timeout(180)
@pytest.mark.parametrize("verb", ["flush", "stats", "close"])
def test_a_tracker_interrupted_anywhere_still_works(verb: str) -> None:
    """Parked events are sent, later ones are taken (or counted as failed once it is closed)."""
    number, ran = 0, True
    while ran:
        made = Tracker.from_config({"backends": TREES["a group"]})
        made.emit("x")
        ran = interrupted(number, getattr(made, verb))
        made.emit("x")
        check_settled(made)
        assert made.stats()[""].received == 2
        RECORDED.clear()
        made.close()
        number += 1
    assert number > 5


@pytest.mark.timeout(120, method="thread")  # the test takes SIGALRM for itself
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # in a weak callback
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="the system has no interval timers")
@pytest.mark.parametrize("name", ["a group", "a router that passes through"])
def test_interrupted_at_random_moments_the_law_holds(name: str) -> None:
    """Hundreds of real signals, whose handler raises, leave nothing pending and lose no emit that
    returned.
    """
    if threading.current_thread() is not threading.main_thread():
        pytest.skip("signals come to the main thread alone")
    made = Tracker.from_config({"backends": TREES[name]})
    returned: set[str] = set()
    hits = 0

    def raise_it(_signum: int, _frame: object) -> None:
        raise Interruption

    previous = signal.signal(signal.SIGALRM, raise_it)
    ends = time.monotonic() + 20.0
    try:
        while hits < 300 and time.monotonic() < ends:
            event = Event(name="x")
            try:
                signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-6, 2e-4))
                for _ in range(20):
                    event = Event(name="x")
                    made.submit(event)
                    returned.add(event.id)
                signal.setitimer(signal.ITIMER_REAL, 0)
            except Interruption:
                hits += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert hits
    assert made.flush()
    check_settled(made)
    assert returned <= {event.id for event in RECORDED["a"]}
    assert made.stats()[""].failed <= hits


LEAKING = """
def f(lock, numbers):
    with lock:
        for number in numbers:
            if number:
                print(number)
"""


@pytest.mark.skipif(
    not (3, 12) <= sys.version_info < (3, 15), reason="this Python covers every jump"
)
def test_a_loop_without_its_handler_is_found() -> None:
    """CPython leaves this loop's jump outside of the `with`: the next test can fail."""
    assert uncovered_jumps(LEAKING, "m") == ["m:5 in f"]


def test_no_loop_loses_its_handler() -> None:
    """An exception at the jump back of a loop reaches the `finally` around it."""
    assert uncovered_jumps_below(Path(eventtracking.__file__).parent) == []
