"""What a plugin's classes look like.

Nothing needs to inherit from these: having the methods is enough.

Each class is an attrs class whose fields are its options (see `eventtracking.config.options`).
Constructing one does no I/O: it happens at config time, possibly in another process than the one
that sends.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from eventtracking.counts import Counts, Outcome
from eventtracking.event import Event

__all__ = ["Backend", "Downstream", "Failures", "Observer", "Processor", "Progress", "Router"]


@runtime_checkable
class Processor(Protocol):
    """Changes or filters events, one at a time, on the thread that emits or delivers.

    Two optional attributes: `accepts(name: str) -> bool` decides by the name alone before the
    processor is called, and core remembers its answers (so it must always give the same one for a
    name). `name_only = True` says that `accepts` is all there is to it, so that the processor need
    not be called at all.
    """

    def __call__(self, event: Event) -> Event:
        """Return the event, or a changed copy with the same id.

        Raises:
            DropEvent: To filter the event out.
        """


@runtime_checkable
class Backend(Protocol):
    """Delivers events somewhere.

    Optional methods, which core calls where they exist:

    * `open()`: connect. Once per process, before the first `send` (again in a forked child, where
      what the parent opened must be neither used nor closed), or by `Tracker.open()`. If it raises,
      the send has failed, and it is called again later.
    * `flush(timeout_s) -> bool | None`: deliver what is held, within the time. False says that
      something is left.
    * `close()`: let go of everything; `flush` came before. Called at most once after each `open`.
    * `probe()`: raise if what it needs is not there, where `open` does not tell; after `open`, for
      `eventtracking check --connect`.
    * `exclusive() -> Mapping[str, str]`: what it wants for itself alone, by the option that names
      it, such as a folder. Two nodes of one config with the same value are a problem of the config.

    `flush` and `close` may run in a signal handler that interrupted `send` on the same thread:
    never wait for a lock without a limit there.

    `blocking = True` says that `send` talks to a network.
    """

    def send(self, events: Sequence[Event]) -> None:
        """Deliver the events, never none, possibly from several threads at once. Never change them.

        Returning means that all are delivered, or safely stored.

        Raises:
            Rejected: Those events are bad for good, and the rest were delivered.
            Exception: None of them was delivered, and they may be tried again.
        """


@runtime_checkable
class Observer(Protocol):
    """Watches a tracker, named in `[[observers]]`; never on the way of an inline emit.

    It reads `tracker.stats()` and `tracker.routes()` when it wants to know. One that raises is
    switched off, and the log names it. Optional methods:

    * `close()`: let go of everything, after the backends were closed.
    * `delivered(route, count, duration_s)`: a router has delivered a batch to the backend of a
      route. Called on the delivering thread; be quick.
    """

    def start(self, tracker: Any) -> None:
        """Begin to watch.

        Called once per process, with the first open of a backend, and on its thread, which may be
        that of an emit: leave the work to a thread of your own. Called in a forked child again,
        after which nothing of the parent's sockets, locks and threads may be used.
        """


class Failures(dict[str, dict[str, Exception]]):
    """`{leaf path: {event id: error}}`.

    A `Rejected` is final, any other error may be tried again.
    """

    def __init__(self) -> None:
        super().__init__()
        self.finished: dict[str, Outcome] = {}
        """The events that are now final at every leaf, each with its worst outcome."""


Progress = dict[str, dict[str, Outcome]]
"""`{event id: {leaf path: outcome so far}}`."""


class Downstream(Protocol):
    """The routes below a router.

    The router calls it from any thread it likes, one thread at a time per event and leaf.
    """

    @property
    def path(self) -> str:
        """The router's own path, `warehouse/workers`."""

    @property
    def leaves(self) -> tuple[str, ...]:
        """The paths where events end: the backends below, and the next routers."""

    @property
    def above(self) -> tuple[str, ...]:
        """The plugin names of the routers above, nearest first."""

    def deliver(
        self, events: Sequence[Event], only: Collection[str] | None = None, first: bool = False
    ) -> Failures:
        """Try to deliver each event to each leaf, isolated from each other, and return what failed.

        Never raises an Exception.

        What is returned stays pending at its leaf until it is delivered, or until `settle` tells
        its end.

        Args:
            events: With ids that differ.
            only: The leaves of a retry. The events were given to `deliver` before, and are not
                received again.
            first: With `only`: these leaves have the events for the first time. A router that gives
                each leaf a thread of its own says that; an event is unfinished until every leaf has
                had it. The processors of a group may run once for each leaf below it.
        """

    def settle(
        self, leaf: str, event_ids: Iterable[str], outcome: Outcome, reason: str = ""
    ) -> dict[str, Outcome]:
        """Tell the final outcome, failed or dead-lettered, of events that are pending at a leaf, or
        have yet to come there.

        Returns:
            The events that are now final at every leaf, each with its worst outcome.
        """

    def reopen(self, leaf: str, event_ids: Iterable[str]) -> None:
        """Move dead-lettered events back to pending, to be replayed with `deliver(...,
        only={leaf})`.

        What became of them at other leaves is known for those that were adopted just before; for
        the rest it counts as over.
        """

    def progress(self, event_ids: Iterable[str]) -> Progress:
        """Return how far unfinished events have come, to be stored, or sent along with a retry
        elsewhere.
        """

    def adopt(self, progress: Progress, received: bool) -> None:
        """Take over unfinished events from another process.

        Args:
            received: Whether they count as received (and pending) in this process from now on;
                False where the router keeps the counts in a store that has them already.
        """

    def forget(self, event_ids: Iterable[str]) -> None:
        """Take unfinished events off the books of this process, because another one adopts them."""

    def take_counts(self) -> Mapping[str, Counts]:
        """Return what has been counted below since the last time, for a router that keeps the
        counts in a store.

        Signed: an event may be received in one answer and delivered, with a pending of -1, in a
            later one.
        """


@runtime_checkable
class Router(Protocol):
    """A backend that owns the routes below it.

    A router that holds events after `send` has returned counts them itself: `counts() ->
    Mapping[str, Counts]` gives the counts of its own path, for every event whose `send` returned,
    and of those paths below it whose counts it has taken. Core adds what its processors dropped and
    what `send` refused. A router without `counts` has delivered when `send` returns.
    """

    def bind(self, downstream: Downstream) -> None:
        """Take the routes below, once, at config time."""

    def send(self, events: Sequence[Event]) -> None:
        """Take the events over, as `Backend.send`."""
