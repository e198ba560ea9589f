"""The parts that trials of the buffer share: types, actions of backends, and looks at a tracker."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Sequence
from typing import Any

import attrs

from eventtracking import Event, Rejected, Tracker

Options = dict[str, Any]
Track = Callable[..., Tracker]
Until = Callable[..., None]
Program = Callable[..., "subprocess.Popen[str]"]

HELD = """
from eventtracking import Rejected
def refuse(events):
    raise Rejected({event.id: "no" for event in events})
FailingBackend.actions[""] = refuse
def make(folder, **leaf):
    leaf = leaf or {"plugin": "fail"}
    return Tracker.from_config({"backends": {"b": {
        "plugin": "buffer", "storage": "disk", "path": folder, "max_batch_age_s": 0.01,
        "backends": {"p": leaf},
    }}})
def held():
    names = os.listdir("/proc/self/fd")
    links = [os.readlink(f"/proc/self/fd/{name}") for name in names
        if os.path.islink(f"/proc/self/fd/{name}")]
    # A folder that another thread is just listing is neither locked nor written to.
    return [os.path.basename(link) for link in links if link.startswith(folder)
        and not os.path.isdir(link)]
folder = sys.argv[1]
"""
"""The start of a program with a disk buffer, which can tell the files of it that are open."""


@attrs.define(eq=False)
class Passing:
    """Pass everything on to every child."""

    downstream: Any = attrs.field(init=False, default=None)

    def bind(self, downstream: Any) -> None:
        """Take the routes below."""
        self.downstream = downstream

    def send(self, events: Sequence[Event]) -> None:
        """Deliver within the delivery from above."""
        self.downstream.deliver(events)


def down(events: Sequence[Event]) -> None:
    """Fail, as a destination that is down."""
    raise ConnectionError


def reject(events: Sequence[Event]) -> None:
    """Refuse all of them for good."""
    raise Rejected({event.id: "no" for event in events})


def take(events: Sequence[Event]) -> None:
    """Deliver."""


def hang(release: threading.Event) -> Callable[[Sequence[Event]], None]:
    """Return an action that delivers when it is released."""

    def wait(events: Sequence[Event]) -> None:
        release.wait(60.0)

    return wait


def figures(tracker: Tracker, path: str = "b") -> dict[str, int]:
    """Return the counts of a route that are not zero."""
    counts = tracker.stats()[path]
    names = ("received", "delivered", "filtered", "failed", "dead_lettered", "pending")
    return {name: getattr(counts, name) for name in names if getattr(counts, name)}


def router(tracker: Tracker) -> Any:
    """Return the buffer at `b`."""
    return next(route.backend for route in tracker.routes() if route.path == "b")


def is_served(tracker: Tracker) -> bool:
    """Whether no request waits, and nothing is being replayed."""
    return not any(letter.replaying for letter in router(tracker).letters.list())


def output(process: subprocess.Popen[str]) -> str:
    """Wait for the end of a program that must end well; return its output."""
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return out
