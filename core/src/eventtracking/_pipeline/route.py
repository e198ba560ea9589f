"""The compiled tree: leaves, which hand events to a backend, and groups, which spread them over
routes.

Events come down in two ways. `emit` takes one event from the application; what fails is failed.
`deliver` takes a batch from a router above (`Downstream` starts it); what fails stays pending, and
is reported to that router.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final

import attrs

from eventtracking._pipeline.answers import failures_of
from eventtracking._pipeline.chain import Chain, Verdict
from eventtracking.counts import ENTER, RECORD, SETTLE, Counts, Ledger, Outcome
from eventtracking.errors import DeliveryError, describe_error, locate, reason_of
from eventtracking.event import Event
from eventtracking.protocols import Failures

__all__ = ["Group", "Leaf", "Route", "Trial"]

_DELIVERED: Final = Outcome.DELIVERED
_FAILED: Final = Outcome.FAILED
_FILTERED: Final = Outcome.FILTERED
_PENDING: Final = Outcome.PENDING

_OPEN_WAIT_S: Final = 10.0
"""How long a send waits for another thread's `open()` of the same backend."""
_REOPEN_AFTER_S: Final = 1.0
"""How long the sends of an emit fail at once after `open()` failed, so that a dead backend is not
opened for each event.
"""


@attrs.define(eq=False)
class Trial:
    """One delivery from a router to the routes below it."""

    only: frozenset[str] | None
    first: bool = True
    """Whether the leaves have these events for the first time; a retry otherwise."""
    enter: Callable[[Group, Sequence[Event]], dict[str, Outcome]] = attrs.field(
        default=lambda _group, _events: {}
    )
    """Receives events that come to a group for the first time.

    Returns what its chain has dropped already, for another leaf.
    """
    failures: Failures = attrs.field(factory=Failures)
    marks: dict[str, dict[str, Outcome]] = attrs.field(factory=dict)
    """The outcomes so far, by path and event id; the path of a group for what its own processors
    dropped.
    """

    def mark(self, path: str, outcomes: dict[str, Outcome]) -> None:
        """Note what became of events at a path."""
        self.marks.setdefault(path, {}).update(outcomes)

    def wants(self, leaves: Collection[str]) -> bool:
        """Whether it goes to any of these leaves."""
        return self.only is None or not self.only.isdisjoint(leaves)


class Route:
    """What leaves and groups share: a path, a chain of processors and the books."""

    __slots__ = ("__weakref__", "chain", "leaves", "ledger", "path")

    def __init__(self, path: str, chain: Chain | None, leaves: tuple[str, ...]) -> None:
        self.path = path
        self.chain = chain
        self.ledger = Ledger()
        self.leaves = leaves

    def _screen(self, events: Sequence[Event], outcomes: dict[str, Outcome]) -> Sequence[Event]:
        """Run the chain over a batch; note the outcomes of what it ended."""
        if self.chain is None:
            return events
        passed = []
        for event in events:
            try:
                result = self.chain.apply(event)
            except Exception as error:  # noqa: BLE001 - the chain lets none through, but for exhausted memory or stack in itself
                result = Verdict(_FAILED, describe_error(error), self.path)
            if isinstance(result, Verdict):
                outcomes[event.id] = result.outcome
                self.ledger.remark(result.remark, place=result.place)
            else:
                passed.append(result)
        return passed


class Leaf(Route):
    """A route that ends in a backend.

    A router is a leaf too: what lies below it is its own affair.
    """

    __slots__ = (
        "_again",
        "_enter",
        "_first",
        "_on_open",
        "_open_failure",
        "_opener",
        "_report",
        "_retry_open_at",
        "backend",
        "closed",
        "opened",
        "plugin",
    )

    def __init__(
        self,
        path: str,
        chain: Chain | None,
        plugin: str,
        backend: Any,
        on_open: Callable[[], None],
        report: Callable[[str, int, float], None] | None = None,
    ) -> None:
        super().__init__(path, chain, (path,))
        self.plugin = plugin
        self.backend = backend
        self.closed = False
        self._on_open = on_open
        self._report = report
        self._set_books()
        self.reset()

    @property
    def counts_itself(self) -> bool:
        """Whether it is a router that keeps its own counts, which it may have decided when it was
        bound.
        """
        return hasattr(self.backend, "bind") and callable(getattr(self.backend, "counts", None))

    def _set_books(self) -> None:
        """What to add to the ledger on arrival, on an outcome, and on the outcome of a retry.

        A router that counts itself has counted what its `send` took; so here only the rest is.
        """
        if self.counts_itself:
            self._enter = 0
            self._first = tuple(
                0 if outcome is _DELIVERED else RECORD[outcome] for outcome in Outcome
            )
            self._again = tuple(
                -ENTER if outcome is _DELIVERED else SETTLE[outcome] for outcome in Outcome
            )
        else:
            self._enter = ENTER
            self._first = self._again = SETTLE

    def reset(self) -> None:
        """Start anew, as a forked child does.

        A call that is inside at the fork ends in the books of before.
        """
        self.ledger = Ledger()
        self.opened = False
        self._opener: dict[str, tuple[int, threading.Event]] = {}
        self._retry_open_at = 0.0
        self._open_failure = ""

    def emit(self, event: Event) -> Outcome:
        """Hand over one event from the application."""
        ledger = self.ledger
        outcome = _FAILED
        ledger.total += (
            self._enter
        )  # no call between this and `try`: a signal handler may raise at any call
        try:
            if self.chain is not None:
                result = self.chain.apply(event)
                if result.__class__ is Verdict:
                    outcome = result.outcome
                    ledger.remark(result.remark, place=result.place)
                    return outcome
                event = result  # type: ignore[assignment]  # it is an Event
            if not self.opened:
                self._open(patient=False)
            self.backend.send((event,))
            outcome = _DELIVERED
            return outcome
        except Exception as error:  # noqa: BLE001 - whatever a backend raises is accounted for
            outcome = self._judge(event, error)
            return outcome
        finally:
            ledger.total += self._first[outcome]

    def _judge(self, event: Event, error: Exception) -> Outcome:
        """Tell the outcome of an event whose `send` raised."""
        failure = failures_of(error, (event,)).get(event.id)
        if failure is None:
            return _DELIVERED
        self.ledger.note(_FAILED, reason_of(failure, event.id), 1, locate(failure))
        return _FAILED

    def deliver(self, events: Sequence[Event], trial: Trial) -> None:
        """Hand over a batch from a router above; note in the trial what became of each event."""
        books = self._first if trial.first else self._again
        ledger = self.ledger
        entered = (
            self._enter * len(events) if trial.first else 0
        )  # no call within `+=`, see `counts`
        ledger.total += entered
        outcomes: dict[str, Outcome] = {}
        try:
            passed = self._screen(events, outcomes)
            if passed:
                self._try_batch(passed, outcomes, trial)
        finally:
            for event in events:  # a BaseException on the way leaves them pending, for the router
                outcome = outcomes.setdefault(event.id, _PENDING)
                ledger.total += books[outcome]
            trial.mark(self.path, outcomes)

    def _try_batch(
        self, events: Sequence[Event], outcomes: dict[str, Outcome], trial: Trial
    ) -> None:
        refused: dict[str, Exception] = {}
        try:
            self.open()
            began_s = time.monotonic()
            self.backend.send(events)
            if self._report is not None:
                self._report(self.path, len(events), time.monotonic() - began_s)
        except Exception as error:  # noqa: BLE001 - whatever a backend raises is accounted for
            refused = failures_of(error, events)
        outcomes.update(
            (event.id, _PENDING if event.id in refused else _DELIVERED) for event in events
        )
        if refused:
            trial.failures[self.path] = refused

    def end(self, outcomes: dict[str, Outcome], trial: Trial) -> None:
        """End events that a group above dropped: they never come here, or a retry is over."""
        if trial.wants(self.leaves):
            for outcome in () if trial.first else outcomes.values():
                self.ledger.total += self._again[outcome]
            trial.mark(self.path, outcomes)

    def settle(self, outcome: Outcome, reason: str, first: bool = False) -> None:
        """Give one pending event, or one that never came here before, its final outcome."""
        self.ledger.total += self._enter + self._first[outcome] if first else self._again[outcome]
        if reason:
            self.ledger.note(outcome, reason)

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
        opener = self._opener.setdefault(
            "", mine
        )  # atomic, and no lock is held while the backend's code runs
        if opener is not mine:
            self._wait_for(opener, wait_s)
            return
        try:
            if not self.opened:
                getattr(self.backend, "open", _nothing)()
                self._keep_open()
        except Exception as error:
            self._open_failure = describe_error(error)
            raise
        finally:
            self._retry_open_at = 0.0 if self.opened else time.monotonic() + _REOPEN_AFTER_S
            self._opener.pop("", None)
            mine[1].set()

    def _keep_open(self) -> None:
        """Note that it is open; if it was closed meanwhile, by another thread, close it: nobody
        else would.
        """
        self.opened = True
        if self.closed:
            self.close()
            raise DeliveryError("the tracker is closed")
        self._on_open()

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
        was_open, self.closed, self.opened = self.opened, True, False
        if was_open:
            getattr(self.backend, "close", _nothing)()

    def counts(self, shared: bool = True) -> dict[str, Counts]:
        """The counts of this path, and of those below whose counts the router keeps.

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

    __slots__ = ("children",)

    def __init__(
        self, path: str, chain: Chain | None, children: Sequence[Leaf | Group] = ()
    ) -> None:
        super().__init__(path, chain, ())
        self.adopt(children)

    def adopt(self, children: Sequence[Leaf | Group]) -> None:
        """Take the children, once; they are made after the group, so that a walk meets the parent
        first.
        """
        self.children: tuple[Leaf | Group, ...] = tuple(children)
        self.leaves = tuple(leaf for child in children for leaf in child.leaves)

    def counts(self, _shared: bool = True) -> dict[str, Counts]:
        """The counts of this path."""
        return {self.path: self.ledger.counts()}

    def reset(self) -> None:
        """Start anew, as a forked child does."""
        self.ledger = Ledger()

    def emit(self, event: Event) -> Outcome:
        """Spread one event from the application; return the worst outcome."""
        ledger = self.ledger
        outcome = _FAILED
        ledger.total += (
            ENTER  # no call between this and `try`: a signal handler may raise at any call
        )
        try:
            outcome = self.route(event)
            return outcome
        finally:
            ledger.total += SETTLE[outcome]

    def route(self, event: Event) -> Outcome:
        """Run the chain and spread what comes out, without the books."""
        if self.chain is not None:
            result = self.chain.apply(event)
            if result.__class__ is Verdict:
                self.ledger.remark(result.remark, place=result.place)
                return result.outcome
            event = result  # type: ignore[assignment]  # it is an Event
        worst = _FILTERED
        escaped: BaseException | None = None
        for child in self.children:
            try:
                outcome = child.emit(event)
            except BaseException as error:  # noqa: BLE001 - it is counted at the child, and goes on when the siblings have the event
                outcome, escaped = _FAILED, error
            if outcome > worst:
                worst = outcome
        if escaped is not None:
            raise escaped
        return worst

    def deliver(self, events: Sequence[Event], trial: Trial) -> None:
        """Spread a batch from a router above.

        `Downstream` settles the group when it knows every child's outcome.
        """
        dropped = trial.enter(self, events)
        passed = self._screen([event for event in events if event.id not in dropped], dropped)
        if dropped:
            if trial.first:
                trial.mark(self.path, dropped)
            self.end(dropped, trial)
        if passed:
            self.spread_batch(passed, trial)

    def end(self, outcomes: dict[str, Outcome], trial: Trial) -> None:
        """End events at each leaf that the trial wants."""
        for child in self.children:
            child.end(outcomes, trial)

    def spread_batch(self, events: Sequence[Event], trial: Trial) -> None:
        """Deliver to each child that the trial wants."""
        escaped: BaseException | None = None
        for child in self.children:
            if trial.wants(child.leaves):
                try:
                    child.deliver(events, trial)
                except BaseException as error:  # noqa: BLE001 - as in `_spread`
                    escaped = error
        if escaped is not None:
            raise escaped


def _nothing() -> None:
    """Stand in for an optional method."""
