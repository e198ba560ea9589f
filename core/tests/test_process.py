"""Forks, exits and signals: real processes that do what applications do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from eventtracking_fakes import CALLS, RECORDED

from eventtracking import Tracker

pytestmark = pytest.mark.process

PATHS = [str(Path(__file__).parent / folder) for folder in ("site", "installed")]

PRELUDE = f"""
import os, signal, sys, threading
sys.path += {PATHS!r}
import eventtracking_fakes as fakes
from eventtracking import Tracker
said = lambda text: os.write(1, (text + "\\n").encode())
made = Tracker.from_config({{"backends": {{"a": {{"plugin": "recording"}},
    "f": {{"plugin": "failing"}}}}}})
fakes.ACTIONS[""] = lambda events: None
"""


def run(source: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PRELUDE + source],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.splitlines()


def in_child(action: object) -> str:
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(writing, repr(action()).encode())  # type: ignore[operator]  # it is called in the child only
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        return answer.read()


def test_a_forked_child_starts_at_zero_and_opens_for_itself() -> None:
    """What the parent holds stays the parent's; the contexts that were entered go along."""
    made = Tracker.from_config({"backends": {"a": {"plugin": "recording"}}})
    made.enter_context("request", {"user": 1})
    made.emit("before")

    def child() -> object:
        at_first = made.stats()["a"].received
        made.emit("in the child")
        return at_first, made.stats()["a"].delivered, CALLS[""], RECORDED[""][-1].context

    assert in_child(child) == "(0, 1, ['open', 'open'], {'user': 1})"
    assert made.stats()["a"].delivered == 1
    assert CALLS[""] == ["open"]


def test_a_fork_while_another_thread_is_inside_leaves_the_child_usable() -> None:
    """The child does not wait for a thread that it does not have."""
    import threading

    from eventtracking_fakes import ACTIONS

    inside, go_on = threading.Event(), threading.Event()
    made = Tracker.from_config({"backends": {"f": {"plugin": "failing"}}})

    def wait(events: object) -> None:
        inside.set()
        go_on.wait(30)

    ACTIONS[""] = wait
    thread = threading.Thread(target=made.emit, args=("slow",))
    thread.start()
    inside.wait(30)

    def child() -> object:
        ACTIONS[""] = lambda events: None
        made.emit("quick")
        return made.stats()["f"].delivered

    assert in_child(child) == "1"
    go_on.set()
    thread.join()


def test_a_tracker_is_closed_at_exit() -> None:
    """Also when nobody keeps it, and after the drivers' own exit functions were registered."""
    assert run("""
class Shout(fakes.Recording):
    pass
made.emit("x")
backend = made._tree.routes["a"].backend
type(backend).close = lambda self: said("closed")
import atexit
atexit.register(said, "registered before the next open")
made2 = Tracker.from_config({"backends": {"a": {"plugin": "recording"}}})
made2.emit("x")
del made, made2
""") == ["closed", "closed", "registered before the next open"]


def test_children_of_multiprocessing_close_too() -> None:
    """They leave without the functions of atexit."""
    assert run("""
import multiprocessing
type(made._tree.routes["a"].backend).close = lambda self: said(f"closed {os.getpid() == parent}")
parent = os.getpid()
def work():
    made.emit("x")
process = multiprocessing.get_context("fork").Process(target=work)
process.start()
process.join()
""") == ["closed False"]


def test_a_signal_handler_that_emits_inside_a_backend_is_kept() -> None:
    """It interrupts a `send` that holds a lock of its own, and neither deadlocks nor gets lost."""
    assert run("""
lock = threading.Lock()
names = []
def send(events):
    with lock:
        names.extend(e.name for e in events)
        if events[0].name == "outer":
            os.kill(os.getpid(), signal.SIGALRM)
            for _ in range(1000):
                pass
fakes.ACTIONS[""] = send
signal.signal(signal.SIGALRM, lambda *_: made.emit("from the handler"))
made.emit("outer")
said(str(names))
said(str(all(counts.balanced and not counts.pending for counts in made.stats().values())))
""") == ["['outer', 'from the handler']", "True"]


def test_a_storm_of_signals_loses_nothing() -> None:
    """Handlers that emit at random moments of an emit: every event is accounted for, and every one
    arrives.
    """
    assert run("""
handled = 0
def handler(*_):
    global handled
    handled += 1
    made.emit("signal")
signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.00005, 0.00005)
import time
end = time.monotonic() + 2
emitted = 0
while time.monotonic() < end:
    made.emit("main", {"a": [1, 2, {"b": "c"}]})
    emitted += 1
signal.setitimer(signal.ITIMER_REAL, 0)
stats = made.stats()
said(str(handled > 50))
said(str([stats[path].delivered == emitted + handled for path in ("", "a", "f")]))
said(str(len(fakes.RECORDED[""]) == emitted + handled))
said(str(all(counts.balanced and not counts.pending for counts in stats.values())))
""") == ["True", "[True, True, True]", "True", "True"]


def test_a_storm_of_signals_and_flushes_loses_nothing_that_is_submitted() -> None:
    """Handlers that emit, and other threads that send what was parked, at random moments of a
    submit.
    """
    assert run("""
from eventtracking import Event
handled = submitted = 0
def handler(*_):
    global handled
    handled += 1
    made.emit("signal")
def flush():
    while not done:
        made.flush(0.1)
done = False
sys.setswitchinterval(1e-5)
thread = threading.Thread(target=flush)
thread.start()
signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.00005, 0.00005)
import time
end = time.monotonic() + 2
event = Event(name="x")
while time.monotonic() < end:
    made.submit(event)
    submitted += 1
signal.setitimer(signal.ITIMER_REAL, 0)
done = True
thread.join()
made.flush(1)
stats = made.stats()
said(str(handled > 50))
said(str([stats[path].delivered == submitted + handled for path in ("", "a", "f")]))
said(str(all(counts.balanced and not counts.pending for counts in stats.values())))
""") == ["True", "[True, True, True]", "True"]


def test_a_destructor_that_emits_is_kept() -> None:
    """Garbage that is collected inside a backend may emit."""
    assert run("""
class Emits:
    def __del__(self):
        made.emit("from a destructor")
def send(events):
    Emits()
fakes.ACTIONS[""] = lambda events: Emits() and None if events[0].name == "outer" else None
made.emit("outer")
said(str(sorted(e.name for e in fakes.RECORDED[""])))
""") == ["['from a destructor', 'outer']"]


def test_nothing_is_started_or_opened_at_import() -> None:
    """No thread, no open file, and none of the plugins."""
    assert run("""
said(str(threading.active_count()))
said(str(sorted(m for m in sys.modules if m.startswith("eventtracking_")
    and m != "eventtracking_fakes")))
""") == ["1", "[]"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
def test_gevent_greenlets_see_only_their_own_context() -> None:
    """Greenlets that switch inside a backend neither mix contexts nor lose events."""
    pytest.importorskip("gevent", reason="gevent is not installed for this Python")
    done = subprocess.run(
        [sys.executable, "-c", "from gevent import monkey; monkey.patch_all()\n" + PRELUDE + """
import gevent
def send(events):
    gevent.sleep(0)
fakes.ACTIONS[""] = send
def work(number):
    with made.context({"number": number}):
        gevent.sleep(0)
        made.emit("x", {"number": number})
gevent.joinall([gevent.spawn(work, n) for n in range(200)])
said(str(all(e.context == {"number": e.data["number"]} for e in fakes.RECORDED[""])))
said(str([counts.delivered for counts in made.stats().values()]))
"""], capture_output=True, text=True, timeout=60, check=False)  # fmt: skip
    assert done.stdout.splitlines() == ["True", "[200, 200, 200]"], done.stderr
