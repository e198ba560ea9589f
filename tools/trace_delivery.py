"""Trace the modules that the delivery of one event from disk crosses, and the moves between them.

A disk buffer holds one event for one backend. The step of its lane that delivers the event is
traced, from reading the journal to writing down the outcome. A move is a call from a function of
one of our modules to a function of another one; calls within a module and of other libraries are
none.

`--check` fails when there are more than `MODULES` modules or `MOVES` moves; `--moves` prints each.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

import attrs

from eventtracking import Tracker
from eventtracking_buffer.delivery.lane import Lane
from eventtracking_testkit.distribution import fake_distribution
from eventtracking_testkit.fakes import RecordingBackend

MODULES: Final = 16
MOVES: Final = 37
_OURS: Final = "eventtracking"


@attrs.define(eq=False)
class Trace:
    """The moves of the last step of a lane that delivered something."""

    moves: list[tuple[str, str]] = attrs.field(factory=list)
    modules: set[str] = attrs.field(factory=set)
    _current: list[tuple[str, str]] = attrs.field(factory=list)
    _seen: set[str] = attrs.field(factory=set)
    _delivers: bool = False

    def step(self, step: Callable[[Lane], float], lane: Lane) -> float:
        """Follow one step of a lane, on its own thread."""
        self._current, self._seen, self._delivers = [], {Lane.__module__}, False
        sys.setprofile(self._follow)
        try:
            return step(lane)
        finally:
            sys.setprofile(None)
            if self._delivers:
                self.moves, self.modules = self._current, self._seen

    def _follow(self, frame: FrameType, event: str, _argument: Any) -> None:
        module = str(frame.f_globals.get("__name__", ""))
        if event == "call" and module.startswith(_OURS):
            self._note(frame, module)

    def _note(self, frame: FrameType, module: str) -> None:
        caller = _our_caller(frame)
        self._delivers = self._delivers or module == RecordingBackend.__module__
        self._seen.add(module)
        if caller != module:
            self._current.append((caller, module))


def _our_caller(frame: FrameType) -> str:
    """Return the module of the nearest caller that is ours."""
    outer = frame.f_back
    while outer is not None:
        module = str(outer.f_globals.get("__name__", ""))
        if module.startswith(_OURS):
            return module
        outer = outer.f_back
    return ""


def trace() -> Trace:
    """Deliver two events from disk, one after the other; return the trace of the second."""
    found = Trace()
    backend = {"child": {"plugin": "recording"}}
    with (
        tempfile.TemporaryDirectory() as folder,
        fake_distribution(plugins={"recording": RecordingBackend}),
    ):
        buffer = {"plugin": "buffer", "storage": "disk", "path": f"{folder}/b", "backends": backend}
        step = Lane.step

        def traced(lane: Lane) -> float:
            return found.step(step, lane)

        setattr(Lane, "step", traced)  # noqa: B010 - a lane has no hook, and needs none but this
        with Tracker.from_config({"backends": {"buffer": buffer}}) as tracker:
            for name in ("first", "second"):
                tracker.emit(name)
                tracker.flush(10.0)
        setattr(Lane, "step", step)  # noqa: B010 - as above
    return found


def main() -> int:
    """Print the trace; the exit status says whether it is within the limits."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--moves", action="store_true", help="print each move, in order")
    parser.add_argument("--check", action="store_true", help="fail if a limit is exceeded")
    arguments = parser.parse_args()
    found = trace()
    for move in found.moves if arguments.moves else ():
        print(" -> ".join(move))
    for (caller, callee), count in Counter(found.moves).most_common():
        print(f"{count:3}  {caller} -> {callee}")
    print(f"{len(found.modules)} modules, {len(found.moves)} moves")
    if not found.moves:
        print("no delivery was seen", file=sys.stderr)
        return 1
    too_many = len(found.modules) > MODULES or len(found.moves) > MOVES
    return 1 if arguments.check and too_many else 0


if __name__ == "__main__":
    sys.exit(main())
