"""A leaf of the tree: the life of one backend, which is opened once per process and closed once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, ClassVar, Final

from eventtracking._pipeline.chain import Chain
from eventtracking._pipeline.route import Route
from eventtracking.counts import Counts, Outcome
from eventtracking.errors import DeliveryError, describe_error
from eventtracking.event import Event

__all__ = ["Leaf"]

_OPEN_WAIT_S: Final = 10.0
"""How long a send waits for another thread's `open()` of the same backend."""
_REOPEN_AFTER_S: Final = 1.0
"""How long the sends of an emit fail at once after `open()` failed, so that a dead backend is not
opened for each event.
"""


class Leaf(Route):
    """A route that ends in a backend.

    A router that defers is a leaf too: it counts the routes below it.
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
        if hasattr(backend, "remark_to"):  # one with remarks on events that it has delivered
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
        return Outcome.DELIVERED

    def open(self, wait_s: float = _OPEN_WAIT_S) -> None:
        """Open the backend, unless it is open in this process.

        Args:
            wait_s: For another thread that opens it just now.

        Raises:
            Exception: Of the backend's `open`.
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
        """Open the backend, and ask it whether its needs are met.

        Raises:
            Exception: Of the backend.
        """
        self.open()
        getattr(self.backend, "probe", _nothing)()

    def flush(self, timeout_s: float) -> bool:
        """Deliver the events that the backend holds. Return whether none is left.

        Raises:
            Exception: Of the backend.
        """
        if not hasattr(self.backend, "flush"):
            return True
        return (
            self.opened and self.backend.flush(timeout_s) is not False
        )  # a backend that is not open may hold events

    def close(self) -> None:
        """Close the backend for good, if it is open in this process.

        Raises:
            Exception: Of the backend.
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


def _nothing() -> None:
    """Stand in for an optional method."""
