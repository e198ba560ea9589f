"""The compiled routes: leaves, which hand events to a backend, and groups, which spread them.

`emit` takes one event from the application: what fails is failed. Batches from a router above come
down through `eventtracking._tree.attempt`.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import FunctionType
from typing import Any, ClassVar, Final

from eventtracking._pipeline.answers import failures_of
from eventtracking._pipeline.chain import Chain, Verdict
from eventtracking.counts import ENTER, Counts, Ledger, Outcome
from eventtracking.errors import DeliveryError, describe_error, locate, reason_of
from eventtracking.event import Event

__all__ = ["Group", "Leaf", "Parked", "Route"]

_DELIVERED: Final = Outcome.DELIVERED
_FAILED: Final = Outcome.FAILED
_FILTERED: Final = Outcome.FILTERED

_OPEN_WAIT_S: Final = 10.0
"""How long a send waits for another thread's `open()` of the same backend."""
_REOPEN_AFTER_S: Final = 1.0
"""How long the sends of an emit fail at once after `open()` failed, so that a dead backend is not
opened for each event.
"""

Parked = deque[tuple["Group", Event]]
"""Events that wait for the call that is inside the tree on their thread."""


class Route:
    """A path, a chain of processors, and the counts of both."""

    __slots__ = (
        "__weakref__",
        "_changes",
        "_delivered",
        "_enter",
        "_failed",
        "backend",
        "chain",
        "children",
        "direct",
        "leaves",
        "ledger",
        "path",
        "tap",
    )

    def __init_subclass__(cls) -> None:
        """Give each kind of route its own compiled copy of `emit`.

        CPython specialises code for the type that it meets. One copy for groups and leaves, which
        take turns with each event, would cost a sixth of an emit.
        """
        if "emit" in vars(cls):
            return
        emit = Route.emit
        cls.emit = FunctionType(  # type: ignore[method-assign]  # the same function
            emit.__code__.replace(), emit.__globals__, "emit", emit.__defaults__
        )

    def __init__(self, path: str, chain: Chain | None) -> None:
        self.path = path
        self.chain = chain
        self.ledger = Ledger()
        self.backend: Any = None
        self.direct = False
        """Whether `send` of the backend takes events as they are: it is open, and no passage."""
        self.leaves: tuple[Leaf, ...] = ()
        """Where events end, at or below this route; a router that defers is such a place."""
        self.children: tuple[Route, ...] = ()
        self.tap: Any = None
        """Told of each batch while somebody watches."""
        self.count_all()

    def count_all(self) -> None:
        """Count each event here: on its arrival, and on its outcome."""
        self._enter = ENTER
        self._changes = {outcome.label: outcome.settle for outcome in Outcome}
        self._delivered, self._failed = _DELIVERED.settle, _FAILED.settle

    def count_untaken(self) -> None:
        """Count only the events that the backend did not take: it counts those itself."""
        self._enter = 0
        self._changes = {outcome.label: outcome.record for outcome in Outcome}
        self._changes[_DELIVERED.label] = 0
        self._delivered, self._failed = 0, _FAILED.record

    def emit(self, event: Event, parked: Parked | None = None) -> Outcome:
        """Take one event from the application to its outcome, and count it: the only place.

        A signal handler may raise at any call or jump: none stands between entering the event and
        `try`, nor between an outcome and its change of the counts; at worst the event is failed.

        Args:
            parked: Where the event waits, first in line; it leaves when it has entered the counts.
        """
        ledger = self.ledger
        change = self._failed
        ledger.total += self._enter
        try:
            if parked is not None:  # inside: Python 3.10 handles signals at a jump, too
                del parked[0]
            if (chain := self.chain) is not None:
                apply = chain.apply  # by itself, as CPython 3.11 specialises it
                result = apply(event)
                if result.__class__ is Verdict:
                    change = self._changes[result.outcome.label]
                    ledger.remark(result.remark, place=result.place)
                    return result.outcome
                event = result  # type: ignore[assignment]  # it is an Event
            if self.direct:
                self.backend.send((event,))
                change = self._delivered
                return _DELIVERED
            worst = _FILTERED if self.children else self.pass_on(event)
            escaped: BaseException | None = None
            for child in self.children:
                try:
                    outcome = child.emit(event)
                except BaseException as error:  # noqa: BLE001 - it is counted at the child, and goes on when the siblings have the event
                    outcome, escaped = _FAILED, error
                # No condition ends the loop: CPython 3.12 leaves its jump without the `finally`.
                worst = max(worst, outcome)
            if escaped is not None:
                raise escaped
            change = self._delivered if worst is _DELIVERED else self._changes[worst.label]
            return worst
        except Exception as error:  # noqa: BLE001 - whatever a backend raises is accounted for
            outcome = _FAILED
            with suppress(Exception):  # memory or stack is exhausted: it has failed, and is counted
                outcome = self._judge(event, error)
            change = self._changes[outcome.label]
            return outcome
        finally:
            ledger.total += change

    def pass_on(self, event: Event) -> Outcome:  # noqa: ARG002 - a leaf needs it
        """Hand on an event where `emit` cannot; a group without children filters it."""
        return _FILTERED

    def _judge(self, event: Event, error: Exception) -> Outcome:
        """Return the outcome of an event on whose way an exception was raised."""
        failure = failures_of(error, (event,)).get(event.id)
        if failure is None:
            return _DELIVERED
        self.ledger.note(_FAILED, reason_of(failure, event.id), 1, locate(failure))
        return _FAILED

    def reset(self) -> None:
        """Start anew in a forked child; a call that is inside ends in the former ledger."""
        self.ledger = Ledger()


class Leaf(Route):
    """A route that ends in a backend.

    A router that defers is a leaf too: it counts what lies below it.
    """

    __slots__ = (
        "_on_open",
        "_open_failure",
        "_opener",
        "_retry_open_at",
        "closed",
        "on_delivered",
        "opened",
        "plugin",
    )
    is_direct: ClassVar[bool] = True

    def __init__(
        self,
        path: str,
        chain: Chain | None,
        plugin: str,
        backend: Any,
        on_open: Callable[[], None],
        on_delivered: Callable[[str, int, float], None] | None = None,
    ) -> None:
        super().__init__(path, chain)
        self.plugin = plugin
        self.backend = backend
        self.leaves = (self,)
        self.closed = False
        self.on_delivered = on_delivered
        """Told of each batch that a router sent here: path, events, seconds."""
        self._on_open = on_open
        self.reset()
        if hasattr(backend, "remark_to"):  # one that may say something of what it has delivered
            backend.remark_to(self._remark)

    def _remark(self, text: str) -> None:
        self.ledger.remark(text)

    def reset(self) -> None:
        """Start anew in a forked child."""
        super().reset()
        self.opened = self.direct = False
        self._opener: dict[str, tuple[int, threading.Event]] = {}
        self._retry_open_at = 0.0
        self._open_failure = ""

    def pass_on(self, event: Event) -> Outcome:
        """Send one event."""
        if not self.opened:
            self._open(patient=False)
        self.backend.send((event,))
        return _DELIVERED

    def open(self, wait_s: float = _OPEN_WAIT_S) -> None:
        """Open the backend, unless it is open in this process.

        Args:
            wait_s: For another thread that opens it just now.

        Raises:
            Exception: What the backend's `open` raised.
        """
        if not self.opened:
            self._open(patient=True, wait_s=wait_s)

    def _open(self, patient: bool, wait_s: float = _OPEN_WAIT_S) -> None:
        if self.closed:
            raise DeliveryError("the tracker is closed")
        if not patient and time.monotonic() < self._retry_open_at:
            raise DeliveryError(f"open() failed a moment ago: {self._open_failure}")
        mine = (threading.get_ident(), threading.Event())
        try:
            # Atomic, and no lock is held while the backend's code runs.
            opener = self._opener.setdefault("", mine)
            if opener is not mine:
                self._wait_for(opener, wait_s)
            elif not self.opened:
                getattr(self.backend, "open", _nothing)()
                self._keep_open()
        except Exception as error:
            self._open_failure = describe_error(error)
            self._retry_open_at = time.monotonic() + _REOPEN_AFTER_S
            raise
        finally:  # without a call before the place is free, which a signal handler could interrupt
            if "" in self._opener and self._opener[""] is mine:
                del self._opener[""]
            mine[1].set()

    def _keep_open(self) -> None:
        """Note that it is open; close it if another thread has closed the tracker meanwhile."""
        if not self.closed:
            self._on_open()
        self.opened = True
        self.direct = self.is_direct
        self._retry_open_at = 0.0
        if self.closed:
            self.close()
            raise DeliveryError("the tracker is closed")

    def _wait_for(self, opener: tuple[int, threading.Event], wait_s: float) -> None:
        if opener[0] == threading.get_ident():
            raise RuntimeError("the backend is used while it opens")
        opener[1].wait(wait_s)
        if not self.opened:
            raise DeliveryError("open() failed, or still runs, on another thread")

    def probe(self) -> None:
        """Open the backend, and ask it whether what it needs is there.

        Raises:
            Exception: What the backend raised.
        """
        self.open()
        getattr(self.backend, "probe", _nothing)()

    def flush(self, timeout_s: float) -> bool:
        """Deliver what the backend holds. Return whether nothing is left.

        Raises:
            Exception: What the backend raised.
        """
        if not hasattr(self.backend, "flush"):
            return True
        return (
            self.opened and self.backend.flush(timeout_s) is not False
        )  # what is not open may hold something

    def close(self) -> None:
        """Close the backend for good, if it is open in this process.

        Raises:
            Exception: What the backend raised.
        """
        was_open, self.closed = self.opened, True
        self.opened = self.direct = False
        if was_open:
            getattr(self.backend, "close", _nothing)()

    @property
    def counts_itself(self) -> bool:
        """Whether it is a router with counts of its own, which it may have decided in `bind`."""
        return hasattr(self.backend, "bind") and callable(getattr(self.backend, "counts", None))

    def counts(self, shared: bool = True) -> dict[str, Counts]:
        """Read the counts of this path, and of those below that the router keeps.

        Args:
            shared: Whether also those that it shares with other processes.
        """
        own = self.ledger.counts()
        if not self.counts_itself:
            return {self.path: own}
        try:
            if not shared and self._is_shared():
                return {self.path: own}
            kept: dict[str, Counts] = dict(self.backend.counts())
        except Exception as error:  # noqa: BLE001 - statistics never raise into the application; say that they are incomplete
            return {
                self.path: own + Counts(reasons={f"counts unavailable: {describe_error(error)}": 1})
            }
        return {**kept, self.path: own + kept.get(self.path, Counts())}

    def _is_shared(self) -> bool:
        status = getattr(self.backend, "status", None)
        return bool(status is not None and getattr(status(), "shared", False))


class Group(Route):
    """A route that spreads events over its children, each isolated from the others."""

    __slots__ = ()

    def __init__(self, path: str, chain: Chain | None, children: Sequence[Route] = ()) -> None:
        super().__init__(path, chain)
        self.adopt(children)

    def adopt(self, children: Sequence[Route]) -> None:
        """Take the children, once: they are made after the group, so that parents come first."""
        self.children = tuple(children)
        self.leaves = tuple(leaf for child in children for leaf in child.leaves)

    def counts(self, _shared: bool = True) -> dict[str, Counts]:
        """Read the counts of this path."""
        return {self.path: self.ledger.counts()}


def _nothing() -> None:
    """Stand in for an optional method."""
