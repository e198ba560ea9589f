"""The contracts of a plugin's classes.

Nothing needs to inherit from these: having the methods is enough.

Each class is an attrs class whose fields are its options (see `eventtracking.config.options`).
Constructing one does no I/O: it happens at config time, possibly in another process than the one
that sends.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from eventtracking.counts import Outcome
from eventtracking.event import Event
from eventtracking.failures import Failures
from eventtracking.standing import Routes

__all__ = [
    "Backend",
    "Downstream",
    "Failures",
    "Observer",
    "Place",
    "Processor",
    "Router",
]


@runtime_checkable
class Processor(Protocol):
    """Changes or filters events, one at a time, on the thread that emits or delivers.

    Optional attributes and methods, which core uses where they exist:

    * `accepts(name: str) -> bool` decides by the name alone before the processor is called. Core
      remembers the answers, so it must always give the same one for a name.
    * `name_only = True` says that `accepts` is all there is, so the processor is never called.
    * `fails_closed = True` says that it must never be passed over: `on_error = "pass"` is then a
      problem of the config.
    * `bind(place: Place)` is called once, at config time (in `check`, too).
    * `shown(event) -> Event` returns the part of an event that people may see in tools. One
      that raises shows only the keys.
    * `advice(tracker) -> Iterable[Problem]` tells `eventtracking check` of likely mistakes in the
      whole tree.
    """

    def __call__(self, event: Event) -> Event:
        """Return the event, or a changed copy with the same id.

        Raises:
            DropEvent: To filter the event out.
            Rejected: To refuse it for good: below a router it becomes a dead letter, elsewhere it
                has failed. `on_error` does not apply.
        """


class Place(Protocol):
    """A processor's place in the tree, as `bind` gets it."""

    @property
    def path(self) -> str:
        """The path of the route; the root's is empty."""

    @property
    def above(self) -> tuple[str, ...]:
        """The plugin names of the routers above, nearest first."""

    def submit(self, event: Event) -> bool:
        """Send another event down the whole tree, before the call that is inside it returns.

        Returns:
            False if nothing was sent, because the tree only explains.
        """

    def remark(self, text: str, count: int = 1) -> None:
        """Count a text among the reasons of the route; at most 64 different ones are kept."""


@runtime_checkable
class Backend(Protocol):
    """Delivers events somewhere.

    Optional methods, which core calls where they exist:

    * `open()`: connect. Once per process, before the first `send` (again in a forked child, where
      the parent's resources must be neither used nor closed), or by `Tracker.open()`. If it raises,
      the send has failed, and it is called again later.
    * `flush(timeout_s) -> bool | None`: deliver the held events, within the time. False says
      that some are left.
    * `close()`: release all resources; `flush` came before. Called at most once after each `open`.
    * `probe()`: raise if a need is not met, where `open` does not tell; after `open`, for
      `eventtracking check --connect`.
    * `tick()`: do the work that is due by time, such as rotating a file. Routers that hold events
      call it about once a second, never during `send` on the same lane nor after `close`.
    * `max_batch_events`, `max_batch_bytes`: the largest batch that `send` takes. Bytes are an
      estimate, of the JSON form; a single event that is larger comes alone.
    * `exclusive() -> Mapping[str, str]`: the things it wants for itself alone, by option, such as a
      folder. Two nodes of one config with the same value are a problem of the config.

    `flush` and `close` may run in a signal handler that interrupted `send` on the same thread:
    never wait for a lock without a limit there.

    `blocking = True` says that `send` talks to a network.
    """

    def send(self, events: Sequence[Event]) -> None:
        """Deliver the events, never none, possibly from several threads at once. Never change them.

        Returning means that all are delivered, or safely stored.

        Raises:
            Rejected: Those events are bad for good, and the rest were delivered.
            Undelivered: Some are to be tried again, some are bad for good, the rest were delivered.
            DeliveryError: None was delivered; perhaps with the pause that the destination wants.
            Exception: None was delivered, and they may be tried again.
        """


@runtime_checkable
class Observer(Protocol):
    """Watches a tracker, named in `[[observers]]`; never on the way of an inline emit.

    It reads `tracker.stats()` and `tracker.routes()` when it wants to know. One that raises is
    switched off, and the log names it. Optional methods:

    * `close()`: release all resources, after the backends were closed.
    * `delivered(route, count, duration_s)`: a router has delivered a batch to the backend of a
      route. Called on the delivering thread; be quick.
    """

    def start(self, tracker: Any) -> None:
        """Begin to watch.

        Called once per process, with the first open of a backend, and on its thread, which may be
        that of an emit: leave the work to a thread of your own. Called in a forked child again,
        after which nothing of the parent's sockets, locks and threads may be used.
        """


class Downstream(Protocol):
    """The routes below a router.

    A router that **holds** events says `defers = True`: its `send` returns before a child is
    called. It keeps the counts of its own path and of all routes below (`counts()`), from the
    answers of `deliver`; core keeps none for them. It may call `deliver` from any thread, one
    thread at a time for each event and leaf.

    A router that **passes through** calls `deliver` within its `send`, on the same thread. The
    delivery joins that of the router above, which retries failed events. A child that is given
    nothing on the first delivery is filtered; see `skip`.
    """

    @property
    def path(self) -> str:
        """The router's own path, `warehouse/workers`."""

    @property
    def leaves(self) -> tuple[str, ...]:
        """The paths where events end: the backends below, and routers that hold events."""

    @property
    def lanes(self) -> Mapping[str, tuple[str, ...]]:
        """The units that a router may serve apart from each other, each with its leaves.

        That is a leaf by itself, or a router that passes through, with all of its leaves.
        """

    @property
    def children(self) -> Mapping[str, str]:
        """The paths of the direct children, by their names in the config."""

    @property
    def above(self) -> tuple[str, ...]:
        """The plugin names of the routers above, nearest first."""

    @property
    def routes(self) -> Routes:
        """The routes below as a value: see `eventtracking.standing`."""

    def deliver(
        self,
        events: Sequence[Event],
        only: Collection[str] | None = None,
        first: bool = False,
        into: Failures | None = None,
    ) -> Failures:
        """Deliver each event to each leaf, isolated from each other; return the answer.

        Never raises an Exception. A failed event stays pending at its leaf.

        Args:
            events: With ids that differ.
            only: The paths to go to, of leaves or groups. The events were there before, unless
                `first` says otherwise.
            first: With `only`: they have the events for the first time. A router that gives each
                lane a thread of its own says that. The processors of a group may run once for each
                lane below it. Within a `send` the router above decides.
            into: An answer to fill as the delivery goes, for one that may be interrupted. Its
                `pauses` name the leaves that are to be left alone, while their siblings go on.
        """

    def skip(self, path: str, event_ids: Iterable[str], reason: str = "skipped") -> None:
        """Filter events at a path, within `send`; of a group, nothing below receives them.

        For a child that the router passes over, or one that failed while another took the event.
        """

    def settle(
        self, leaf: str, event_ids: Iterable[str], outcome: Outcome, reason: str = ""
    ) -> None:
        """Give events at a leaf their final outcome, failed or dead-lettered, within `send`."""

    def tick(self, lane: str | None = None) -> None:
        """Call the backends' `tick` in a lane, or in all. Call it about once a second; never during
        a delivery to that lane. Never raises an Exception.
        """

    def ticks(self, lane: str) -> bool:
        """Whether any backend in a lane has a `tick`."""


@runtime_checkable
class Router(Protocol):
    """A backend that owns the routes below it; see `Downstream` for the two kinds.

    With `defers = True` it holds events after `send` has returned, and counts them itself:
    `counts() -> Mapping[str, Counts]` gives the counts of its own path, for every event whose
    `send` returned, and of the routes below it. Core adds the events that its processors dropped,
    and those that `send` refused. Both attributes are read after `bind`, which may decide them.
    """

    def bind(self, downstream: Downstream) -> None:
        """Take the routes below, once, at config time."""

    def send(self, events: Sequence[Event]) -> None:
        """Take the events over, as `Backend.send`."""
