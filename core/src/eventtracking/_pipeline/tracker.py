"""The tracker, which captures events in their context and sends them down the tree."""

from __future__ import annotations

import itertools
import time
from _thread import get_ident
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, cast, overload

from eventtracking._data.capture import capture
from eventtracking._data.declared import Declared
from eventtracking._data.intake import as_mapping, warn
from eventtracking._data.snapshot import Values, snapshot
from eventtracking._pipeline import context as contexts
from eventtracking._pipeline import process
from eventtracking._pipeline.context import ContextKeeper
from eventtracking._pipeline.reentrancy import Reentrancy
from eventtracking._tree.leaf import Leaf
from eventtracking._tree.tree import Tree
from eventtracking.counts import Counts, Ledger, Outcome
from eventtracking.errors import ConfigError, DataError, Problem
from eventtracking.event import Event

if TYPE_CHECKING:
    from eventtracking._tree.observers import RouteView
    from eventtracking._tree.taps import Tap
    from eventtracking.config import Spec
    from eventtracking.explain import Decision
    from eventtracking.protocols import Downstream, Observer

__all__ = ["DEFAULT_TIMEOUT_S", "EventLossWarning", "Tracker"]

DEFAULT_TIMEOUT_S: Final = 10.0
"""For `flush` and `close`, of the whole tree: a third of the 30 s that gunicorn and Kubernetes
leave a stopping process.
"""

_NO_COUNTS: Final = Counts()
_FAILED: Final = (
    Outcome.FAILED
)  # looking a member up in its enum costs as much as the rest of a line
_frames = contexts.frames.get
_keys = itertools.count()


class EventLossWarning(UserWarning):
    """Events are emitted that go nowhere.

    Warned of once per tracker and cause; the counts say how many.
    """


class Tracker(ContextKeeper):
    """Captures events, adds the context they happened in, and routes each one.

    Safe from any thread.

    Usable as a context manager, which closes it. Make one with `Tracker.from_config`; one without a
    config counts the emitted events and drops them.

    Args:
        refusal: The outcome of events without a config, and the reason.

    Raises:
        TypeError: If `refusal` is of another type, such as a config.
    """

    def __init__(
        self, refusal: tuple[Outcome, str] = (Outcome.FAILED, "the tracker is not configured")
    ) -> None:
        if type(refusal) is not tuple:
            raise TypeError(
                "expected an outcome and a reason; with a config, a tracker is made by"
                " Tracker.from_config(mapping)"
            )
        self._key = next(_keys)
        self._reentrancy = Reentrancy()
        self._inside = self._reentrancy.inside
        self._parked = self._reentrancy.parked
        self._tree = Tree.empty()
        self._former: list[Tree] = []
        """The trees of the configs before this one: events that were inside when it came end there,
        and count.
        """
        self._root = self._tree.root
        self._base: dict[str, Any] = {}
        self._values: Values = {}
        self._strict = False
        self._told_depth = False
        self._refusal: tuple[Outcome, str] | None = refusal
        self._explaining: set[int] = set()
        """The threads that only ask which way an event would take."""
        self._warned = False
        process.add(self)

    @classmethod
    def from_config(cls, mapping: Mapping[str, Any]) -> Tracker:
        """Make a tracker from a config. Nothing is opened and no thread is started.

        Raises:
            ConfigError: With every problem of the config.
        """
        tracker = cls()
        tracker.configure(mapping)
        return tracker

    def configure(self, mapping: Mapping[str, Any], *, partly: bool = False) -> list[Problem]:
        """Give the tracker a config. The one that it had is closed once the new one has taken over.

        Args:
            mapping: The config; one from `config.load_file` has its `${VAR}` substituted.
            partly: Whether a broken route is replaced by a stand-in, which refuses its events for
                now, so that the sound routes start.

        Returns:
            The problems of the routes with stand-ins; none unless `partly`.

        Raises:
            ConfigError: With every problem of the config, or of its whole; the tracker stays as it
                is.
        """
        spec, tree = self._build(mapping, partly)
        self._former.append(self._tree)
        self._tree, self._root = tree, tree.root
        self._values = spec.values
        self._base = as_mapping(snapshot(spec.context, self._values).value)
        self._strict, self._refusal, self._warned = spec.strict, None, False
        self._former[-1].close(DEFAULT_TIMEOUT_S)
        return list(spec.problems)

    def _build(self, mapping: Mapping[str, Any], partly: bool) -> tuple[Spec, Tree]:
        """Read a config and compile it; a refusal in a plugin's `bind` is one problem more."""
        from eventtracking import config  # with all that it imports, which an emit has no use for
        from eventtracking._tree.build import build_tree

        known: tuple[Problem, ...] = ()
        while True:
            spec = config.parse(mapping, partly=partly, known=known)
            try:
                return spec, build_tree(
                    spec, self._reentrancy.run, self._on_open, self._submit_from_within
                )
            except ConfigError as error:
                if not partly or set(error.problems) <= set(known):
                    raise
                known = (*known, *error.problems)

    # Emitting

    @overload
    def emit(self, name: str, data: Any = None) -> None: ...

    @overload
    def emit(self, name: Declared) -> None: ...

    def emit(self, name: Any, data: Any = None) -> None:
        """Capture an event and send it down the tree.

        Never raises: a value that cannot be an event is mended, and an error below is counted.
        The data is copied, so the caller may go on changing its own.

        Args:
            name: The name of the event; another type becomes text. Or an instance whose class has
                `__eventtracking_name__`: its fields, or its `__eventtracking_data__()`, are the
                data.
            data: The facts. A value that is no mapping becomes `{"value": ...}`; None becomes `{}`.

        Raises:
            DataError: In strict mode only, if the name or the data had to be mended.
        """
        event: Event | None = None
        try:
            frame = _frames().get(self._key)
            event = capture(name, data, self._base if frame is None else frame.merged, datetime)
        except Exception:  # noqa: BLE001 - nothing is raised into the caller; the event is mended below, outside of this block
            pass
        if event is None:
            event = self._capture(name, data)
            if event is None:
                return
        thread = get_ident()
        inside = self._inside
        root = self._root
        if thread in inside:
            self._reentrancy.park(thread, root, event)
            return
        if self._refusal is not None:
            self._refuse(*self._refusal)
            return
        inside[thread] = None
        try:
            root.emit(event)
        except Exception as error:  # noqa: BLE001 - the stack is exhausted, and the tree could not be entered
            self._lose(error)
        finally:
            if thread in inside:  # not in a child that was forked inside
                del inside[thread]
            if self._parked and self._parked.get(thread):
                self._reentrancy.drain(thread)

    def submit(self, event: Event, *, as_written: bool = False) -> None:
        """Send an event that exists already, to replay it.

        It keeps its id, time and context. Never raises.

        Args:
            event: The event.
            as_written: Whether data that is text or a list is written as it is, as event-tracking
                wrote it. By default it becomes `{"value": ...}`.

        Raises:
            DataError: In strict mode only, if the event had to be mended.
        """
        try:
            mended = self._mend_event(event, as_written)
        except DataError:
            raise
        except Exception as error:  # noqa: BLE001 - as in `emit`
            self._lose(error)
        else:
            self._send(mended)

    def _send(self, event: Event) -> None:
        """Send an event as `emit` does, which has these lines within itself: a further call would
        cost each emit a thirtieth.
        """
        thread = get_ident()
        if thread in self._inside:
            self._reentrancy.park(thread, self._root, event)
        elif self._refusal is not None:
            self._refuse(*self._refusal)
        else:
            try:
                self._reentrancy.run(self._root.emit, event)
            except Exception as error:  # noqa: BLE001 - as in `emit`
                self._lose(error)

    def _ledger(self) -> Ledger:
        return self._root.ledger

    def _refuse(self, outcome: Outcome, reason: str) -> None:
        self._root.ledger.total += outcome.record
        self._root.ledger.note(outcome, reason)
        if outcome is Outcome.FAILED and not self._warned:
            self._warned = True
            warn(f"events are lost, because {reason}; `stats()` counts them", EventLossWarning)

    # Life

    def open(self) -> dict[str, Exception]:
        """Open every backend that is not open yet, instead of on its first event. Never raises.

        Returns:
            The error of each backend that could not be opened, by path. It is tried again on its
            next event.
        """
        return self._tree.attempt(Leaf.open)

    def probe(self) -> dict[str, Exception]:
        """Open every backend, and ask each one that can tell whether its needs are met.

        Never raises.

        Returns:
            The error of each backend that would not work now, by path.
        """
        return self._tree.attempt(Leaf.probe)

    def flush(self, timeout_s: float = DEFAULT_TIMEOUT_S) -> bool:
        """Deliver the events that routers and backends hold; open them first, so that those of
        an earlier process are delivered, too.

        Args:
            timeout_s: For the whole tree.

        Returns:
            Whether nothing is left.
        """
        deadline = time.monotonic() + timeout_s
        self._reentrancy.drain_all()
        self._tree.open_until(deadline)
        return self._tree.flush(deadline)

    def close(self, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        """Deliver the held events within the time, and release all resources.

        Later emits are counted as failed. Never raises.

        Called at the exit of the process for every tracker that was opened. Calling it again does
        nothing.

        Args:
            timeout_s: For the whole tree.
        """
        if self._refusal is None:
            self._refusal = (Outcome.FAILED, "the tracker is closed")
        try:
            self._reentrancy.drain_all()
            self._tree.close(timeout_s)
        finally:
            process.closed(self)

    def __enter__(self) -> Tracker:  # noqa: PYI034 - typing.Self is younger than Python 3.10
        """Return the tracker itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the tracker."""
        self.close()

    def _on_open(self) -> None:
        process.opened(self)
        self._tree.observers.start(self)

    def after_fork(self) -> None:
        """Start anew in a forked child: the parent's events stay the parent's."""
        self._reentrancy.reset()
        self._former.clear()
        self._tree.reset()

    # Looking in

    def routes(self) -> tuple[RouteView, ...]:
        """Return every route, to be looked at: the root first, parents before their children."""
        return self._tree.views

    def observers(self) -> tuple[Observer, ...]:
        """Return the observers of the config, started or not."""
        return self._tree.observers.instances

    def stats(self, *, shared: bool = True) -> dict[str, Counts]:
        """Return the counts of every route by its path; the root is `""`.

        They go on, with another config too. `shared=False` leaves out the counts that
        routers share with other processes.
        """
        total = self._tree.counts(shared)
        waiting = self._reentrancy.waiting
        total[""] += Counts(received=waiting, pending=waiting)
        for tree in self._former:
            for path, counts in tree.own_counts().items():
                total[path] = total.get(path, _NO_COUNTS) + counts
        return total

    def tap(self, path: str, before: bool = False, room: int = 1_000) -> Tap:
        """Look at the events that pass a route, before or after its processors; see `Tap`."""
        return self._tree.tap(path, before, room)

    def downstream(self, path: str) -> Downstream:
        """Return the routes below the router at a path, so that a worker can deliver there.

        Raises:
            KeyError: If there is no router at that path.
        """
        return cast("Downstream", self._tree.downstream(path))

    def explain(self, event: Event) -> list[Decision]:
        """Tell which routes would take an event, and which processor decides.

        Nothing is sent or counted.
        """
        from eventtracking.explain import explain  # few processes ask

        thread = get_ident()
        self._explaining.add(thread)
        try:
            return explain(self._tree, event)
        finally:
            self._explaining.discard(thread)

    def _submit_from_within(self, event: Event) -> bool:
        """Send an event of a processor, unless it was called to explain."""
        if get_ident() in self._explaining:
            return False
        self.submit(event)
        return True
