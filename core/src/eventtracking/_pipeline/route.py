"""The compiled routes, which take one event from the application to its outcome, and count it.

A group spreads events over its children; a leaf (`eventtracking._tree.leaf`) sends them to its
backend. Batches from a router come down through `eventtracking._tree.attempt` instead.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from types import FunctionType
from typing import TYPE_CHECKING, Any, Final

from eventtracking._pipeline.answers import failures_of
from eventtracking._pipeline.chain import Chain, Verdict
from eventtracking.counts import ENTER, Counts, Ledger, Outcome
from eventtracking.errors import locate, reason_of
from eventtracking.event import Event

if TYPE_CHECKING:
    from eventtracking._tree.leaf import Leaf

__all__ = ["Group", "Parked", "Route"]

_DELIVERED: Final = Outcome.DELIVERED
_FAILED: Final = Outcome.FAILED
_FILTERED: Final = Outcome.FILTERED

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
        """The taps of this route, told of each batch; None while it is not watched."""
        self.count_all()

    def count_all(self) -> None:
        """Count each event here: on its arrival, and on its outcome."""
        self._enter = ENTER  # the additions to the ledger, made once: see `counts.Ledger`
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

        The event enters the ledger as pending and leaves it by one addition of `change`, in
        `finally`. An `Exception` of a backend ends here, as a failed event with a reason; a
        `BaseException` goes on to the caller when the siblings have had the event, and counts as
        failed, too.

        A signal handler may raise at any call or jump: none stands between entering the event and
        `try`, nor between an outcome and its change of the counts; at worst the event is failed.

        Args:
            parked: Where the event waits, first in line; it leaves when it has entered the counts.
        """
        ledger = self.ledger
        change = self._failed  # unless a line below finds another outcome
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
        except Exception as error:  # noqa: BLE001 - any exception of a backend is accounted for
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
