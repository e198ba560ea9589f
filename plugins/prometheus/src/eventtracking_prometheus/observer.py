"""The observer `prometheus`: its options, and its thread."""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final

import attrs
import msgspec

from eventtracking import Tracker
from eventtracking_prometheus._folder import FileLock, default_folder, prepared
from eventtracking_prometheus._publisher import Publisher
from eventtracking_prometheus._server import MetricsServer
from eventtracking_prometheus._totals import fold_dead
from eventtracking_prometheus.app import only_metrics, wsgi_app

__all__ = ["PrometheusObserver", "running"]

_log = logging.getLogger("eventtracking.prometheus")
_TICK_S: Final = 0.5
_PUBLISH_S: Final = 1.0
_QUIET_S: Final = 60.0
"""How long the same trouble is not told again."""


@attrs.define(eq=False, kw_only=True)
class PrometheusObserver:
    """Serve the counts of every route as Prometheus metrics, over all processes of this port.

    A thread writes the counts to a shared folder once a second. One process is the housekeeper: it
    answers at the port, and keeps the counts of processes that have ended.
    """

    host: str = attrs.field(
        default="127.0.0.1", metadata={"help": "The address to listen at; 0.0.0.0 is any."}
    )
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = attrs.field(
        default=9464,
        metadata={"help": "The port of `/metrics`; 0 serves none: mount the application instead."},
    )
    tracker: str = attrs.field(
        default="default", metadata={"help": "The label `tracker` of every series."}
    )
    folder: str | None = attrs.field(
        default=None,
        metadata={
            "help": "The folder that the processes of a port share; by default a private one."
        },
    )
    _publisher: Publisher | None = attrs.field(init=False, default=None, repr=False)
    _watched: Tracker | None = attrs.field(init=False, default=None, repr=False)
    _housekeeper: FileLock | None = attrs.field(init=False, default=None, repr=False)
    _server: MetricsServer | None = attrs.field(init=False, default=None, repr=False)
    _stopping: threading.Event | None = attrs.field(init=False, default=None, repr=False)
    _thread: threading.Thread | None = attrs.field(init=False, default=None, repr=False)
    _told_at: dict[str, float] = attrs.field(init=False, factory=dict, repr=False)

    @property
    def shared_folder(self) -> Path:
        """The folder that the processes share."""
        folder = Path(self.folder) if self.folder else default_folder(self.port)
        return folder.expanduser().absolute()

    def prepared_folder(self) -> Path:
        """Make the shared folder, where it is missing.

        Raises:
            OSError: If it cannot be made.
            EventTrackingError: If it is another user's, or open to all.
        """
        return prepared(self.shared_folder)

    def start(self, tracker: Tracker) -> None:
        """Begin to publish, on a thread of its own.

        Raises:
            Exception: If the shared folder cannot be used.
        """
        folder = self.prepared_folder()
        known = _publishers.setdefault(tracker, {})
        self._publisher = known.setdefault((folder, self.tracker), Publisher(self.tracker, folder))
        self._watched = tracker
        self._stopping = threading.Event()
        _running.add(self)
        self._thread = threading.Thread(
            target=self._run, args=(self._stopping,), name="eventtracking-prometheus", daemon=True
        )
        self._thread.start()

    def delivered(self, route: str, count: int, duration_s: float) -> None:
        """Enter a batch into the histograms."""
        if self._publisher is not None:
            self._publisher.histograms.add(route, count, duration_s)

    def close(self) -> None:
        """Write the last counts, and leave port and folder to the others."""
        if self._stopping is None or self._publisher is None:
            return
        self._stopping.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=2.0)
        self._attempt("the last counts cannot be written", self.publish)
        self._publisher.release_stores()
        self._publisher = self._watched = None
        self._resign()
        _running.discard(self)

    def publish(self) -> None:
        """Write the counts now, instead of within a second."""
        if self._publisher is not None and self._watched is not None:
            self._publisher.publish(self._watched)

    def _run(self, stopping: threading.Event) -> None:
        published_at = float("-inf")
        while not stopping.is_set():
            if time.monotonic() - published_at >= _PUBLISH_S:
                published_at = time.monotonic()
                self._attempt("the counts cannot be written", self.publish)
            self._attempt("the folder cannot be kept", self._keep_house)
            stopping.wait(_TICK_S)

    def _attempt(self, trouble: str, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:  # noqa: BLE001 - a full disk or a taken port may be better a second later
            self._tell(f"{trouble} ({type(error).__name__}: {error}); will try again")

    def _tell(self, text: str) -> None:
        now = time.monotonic()
        if now - self._told_at.get(text, float("-inf")) >= _QUIET_S:
            self._told_at[text] = now
            _log.warning("prometheus: %s", text)

    def _keep_house(self) -> None:
        """Be the housekeeper, if there is none: fold the dead, and serve the port."""
        folder = self.shared_folder
        if self._housekeeper is None:
            self._housekeeper = FileLock.take(folder / "housekeeper")
        if self._housekeeper is None:
            return
        fold_dead(folder)
        if self._server is None and self.port:
            app = only_metrics(wsgi_app(folder))
            try:
                self._server = MetricsServer(self.host, self.port, app)
            except OSError as error:
                self._tell(
                    f"cannot listen at {self.host}:{self.port} ({error.strerror}); will try again;"
                    " choose another port if another program has it"
                )

    def _resign(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.close()
        lock, self._housekeeper = self._housekeeper, None
        if lock is not None:
            lock.release()

    def _forget(self) -> None:
        """Let go, in a forked child, of the parent's socket, which would keep the port."""
        for held in (self._server, self._publisher, self._housekeeper):
            if held is not None:
                held.forget()
        self._server = self._publisher = self._housekeeper = None
        self._watched = self._stopping = self._thread = None


_publishers: weakref.WeakKeyDictionary[Tracker, dict[tuple[Path, str], Publisher]] = (
    weakref.WeakKeyDictionary()
)
"""The publisher of each tracker goes on with its next config: its counts do, too."""
_running: weakref.WeakSet[PrometheusObserver] = weakref.WeakSet()


def running() -> list[PrometheusObserver]:
    """Return the observers that have started in this process."""
    return list(_running)


def _after_fork_in_child() -> None:
    for observer in list(_running):
        observer._forget()
    _running.clear()
    _publishers.clear()


os.register_at_fork(after_in_child=_after_fork_in_child)
