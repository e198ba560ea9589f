"""Taps: look at the events that pass a route, without slowing it down.

A route that is tapped has another class, whose `emit` notes the events. A tap has room for a few
events; once they are noted, the route has its own class again, until a reader has made room. So a
busy route pays for the events that are shown, and not for those that are skipped.
"""

from __future__ import annotations

import threading
from _thread import get_ident
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from eventtracking._pipeline.chain import Chain, Verdict
from eventtracking._pipeline.route import Route
from eventtracking._tree.leaf import Leaf
from eventtracking.counts import Outcome
from eventtracking.event import Event

__all__ = ["Tap", "Tapped"]

_classes: dict[type[Route], type[Route]] = {}


class Tapped(msgspec.Struct, frozen=True):
    """An event that passed, and its outcome at the route."""

    event: Event
    outcome: Outcome


class Tap:
    """A bounded queue of the events that pass a route. A context manager, which closes it.

    Args:
        route: The route to look at.
        before: Whether events are shown as they come; else as its processors let them out.
        room: How many events wait at most until they are read.
    """

    def __init__(self, route: Route, before: bool, room: int) -> None:
        self.before = before
        self.skipped = 0
        """How many events passed that were not kept, as of the last `read`."""
        self._route = route
        self._room = max(room, 1)
        self._kept: deque[Tapped] = deque()
        self._noted = 0
        self._counted = self._arrivals()
        self._filled = threading.Event()
        taps = route.tap or _Taps(route)
        taps.add(self)

    def __enter__(self) -> Tap:  # noqa: PYI034 - typing.Self is younger than Python 3.10
        """Return the tap itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    @property
    def is_full(self) -> bool:
        """Whether it waits for a reader."""
        return len(self._kept) >= self._room

    def _arrivals(self) -> int:
        return self._route.ledger.counts().received

    def note(self, event: Event, outcome: Outcome) -> None:
        """Keep an event, or skip it. Never waits."""
        if self.is_full:
            if self._owns_no_counts():
                self.skipped += 1
            return
        self._noted += 1
        self._kept.append(Tapped(event, outcome))
        self._filled.set()

    def note_batch(
        self, events: Sequence[Event], passed: Sequence[Event], outcomes: Mapping[str, Outcome]
    ) -> None:
        """Keep the events of a batch from a router, as far as there is room."""
        for event in events if self.before else passed:
            self.note(event, outcomes.get(event.id, Outcome.PENDING))

    def _owns_no_counts(self) -> bool:
        """Whether arrivals cannot be read from the route's ledger: its router counts them."""
        return isinstance(self._route, Leaf) and self._route.counts_itself

    def read(self, timeout_s: float = 0.0) -> list[Tapped]:
        """Return the events that passed, and make room; wait for the first, if there is none."""
        if not self._kept:
            self._filled.wait(timeout_s)
        self._filled.clear()
        found = [self._kept.popleft() for _ in range(len(self._kept))]
        if not self._owns_no_counts():
            arrivals = self._arrivals()
            self.skipped += max(arrivals - self._counted - self._noted, 0)
            self._counted, self._noted = arrivals, 0
        if self._route.tap is not None:
            self._route.tap.arm()
        return found

    def close(self) -> None:
        """Stop looking; the route is as before."""
        if self._route.tap is not None:
            self._route.tap.remove(self)


class _Taps:
    """The taps of one route."""

    def __init__(self, route: Route) -> None:
        self._route = route
        self._lock = threading.Lock()
        self._all: tuple[Tap, ...] = ()
        self._plain = type(route)

    def add(self, tap: Tap) -> None:
        with self._lock:
            self._all = (*self._all, tap)
            self._route.tap = self
        self.arm()

    def remove(self, tap: Tap) -> None:
        with self._lock:
            self._all = tuple(one for one in self._all if one is not tap)
            if not self._all:
                self._disarm()
                self._route.tap = None

    def _disarm(self) -> None:
        self._route.__class__ = self._plain
        if isinstance(self._route.chain, _WatchedChain):
            self._route.chain = self._route.chain.plain

    def arm(self) -> None:
        """Note events from now on."""
        with self._lock:
            if self._all:
                chain = self._route.chain
                if chain is not None and not isinstance(chain, _WatchedChain):
                    self._route.chain = _WatchedChain(chain)
                self._route.__class__ = _tapped(self._plain)

    def note(self, event: Event, outcome: Outcome, before: bool) -> None:
        """Give an event of the application to the taps; let go of the route when all are full."""
        idle = True
        for tap in self._all:
            if tap.before is before:
                tap.note(event, outcome)
            idle = idle and tap.is_full and not tap._owns_no_counts()
        if idle:
            self._disarm()

    def note_batch(
        self, events: Sequence[Event], passed: Sequence[Event], outcomes: Mapping[str, Outcome]
    ) -> None:
        """Give a batch from a router to the taps."""
        for tap in self._all:
            tap.note_batch(events, passed, outcomes)


def _tapped(plain: type[Route]) -> type[Route]:
    """Return the class of a tapped route; it is made once for each class of routes."""
    if plain not in _classes:
        _classes[plain] = _make_tapped(plain)
    return _classes[plain]


def _make_tapped(plain: type[Route]) -> type[Route]:
    """Make the class of a tapped route."""

    class TappedRoute(plain):  # type: ignore[valid-type,misc]  # its base is known at run time
        __slots__ = ()

        def emit(self, event: Event, parked: Any = None) -> Outcome:
            taps, chain = self.tap, self.chain
            outcome = Outcome.FAILED
            passed: Any = event
            try:
                outcome = plain.emit(self, event, parked)
                return outcome
            finally:
                if taps is not None:
                    if isinstance(chain, _WatchedChain):
                        passed = chain.passed.pop(get_ident(), None)
                    taps.note(event, outcome, before=True)
                    if isinstance(passed, Event):
                        taps.note(passed, outcome, before=False)

    return TappedRoute


class _WatchedChain(Chain):
    """The chain of a tapped route, which remembers the event that it let through, by thread."""

    __slots__ = ("passed", "plain")

    def __init__(self, plain: Chain) -> None:
        super().__init__(())
        self.links = plain.links
        self.plain = plain
        self.passed: dict[int, Event | Verdict] = {}
        self.apply = self._watched

    def _watched(self, event: Event) -> Event | Verdict:
        result = self.passed[get_ident()] = self.plain.apply(event)
        return result
