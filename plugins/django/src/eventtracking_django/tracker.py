"""The tracker of a Django project, which knows of transactions."""

from __future__ import annotations

from typing import Any, Final

from django.db import transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from eventtracking import Event, Outcome, Tracker
from eventtracking.errors import describe_error
from eventtracking.tracker import get_tracker
from eventtracking_django import conf

__all__ = ["DjangoTracker", "StandIn", "emit"]


class DjangoTracker(Tracker):
    """A tracker whose events may wait for the surrounding transaction.

    An event that waits is captured at once: its time, its context and a copy of its data are those
    of the call. It is sent when the transaction commits; if that is rolled back, it is counted as
    filtered.

    Args:
        refusal: What becomes of events without a config, and why.
    """

    def __init__(
        self, refusal: tuple[Outcome, str] = (Outcome.FAILED, "the tracker is not configured")
    ) -> None:
        super().__init__(refusal)
        self.waits_for_commit = conf.on_commit()
        """Whether an event waits unless its call says otherwise."""

    def emit(
        self,
        name: Any,
        data: Any = None,
        *,
        on_commit: bool | None = None,
        using: str | None = None,
    ) -> None:
        """Capture an event and send it, at once or on commit.

        Args:
            name: What happened, or a declared event with its facts.
            data: The facts.
            on_commit: Whether to wait for the transaction. None: as `EVENT_TRACKING_ON_COMMIT`
                says.
            using: The alias of the database whose transaction it is. None: the default one.

        Raises:
            DataError: In strict mode only, as `Tracker.emit`.
        """
        waits = self.waits_for_commit if on_commit is None else on_commit
        connection = self._transaction(using) if waits else None
        if connection is None:
            self._emit_now(name, data)
        else:
            self._emit_on_commit(connection, name, data)

    def _transaction(self, using: str | None) -> BaseDatabaseWrapper | None:
        """The connection whose transaction is open, if there is one that an event can wait for."""
        try:
            connection: BaseDatabaseWrapper = transaction.get_connection(using)
        except Exception as error:  # noqa: BLE001 - emit() does not raise: an unknown alias must not cost the request
            self._report(
                [f"the event does not wait: no database {using!r} ({type(error).__name__})"]
            )
            return None
        if connection.in_atomic_block:
            return connection
        if connection.connection is not None and not connection.autocommit:
            self._report(
                [
                    (
                        "the event does not wait: autocommit is off, and outside of `atomic` Django"
                        " tells of no commit"
                    )
                ]
            )
        return None

    def _emit_on_commit(self, connection: BaseDatabaseWrapper, name: Any, data: Any) -> None:
        event = self._capture(name, data)
        if event is None:
            return
        waiting = _Waiting(self, event)
        try:
            _send_all_that_is_committed(connection)
            connection.on_commit(waiting)
        except Exception as error:  # noqa: BLE001 - what no stage foresaw must not hurt the caller
            waiting.take()
            self._refuse(Outcome.FAILED, f"not captured: {describe_error(error)}")

    _emit_now = Tracker.emit
    """Capture an event and send it."""

    def count_rolled_back(self) -> None:
        """Count one event whose transaction was rolled back."""
        self._refuse(Outcome.FILTERED, "the transaction was rolled back")


class StandIn(DjangoTracker):
    """A tracker in the place of the default one for a while, such as one that captures events in a
    test.

    Its contexts and its strictness are those of the tracker whose place it takes.

    Args:
        stands_for: The tracker whose place it takes. Settings that change meanwhile change that
            one.
    """

    def __init__(self, stands_for: Tracker) -> None:
        self.stands_for = stands_for
        super().__init__()

    def __getattribute__(self, name: str) -> Any:
        if name in _SHARED:
            return getattr(self.stands_for, name)
        return super().__getattribute__(name)


_SHARED: Final = frozenset({"_key", "_base", "_strict", "_values"})
"""Attributes of a tracker that make up the context of an event and the form of its data."""


class _Waiting:
    """An event that waits for a commit.

    Django calls it then, and otherwise just lets go of it; there is no other sign of a rollback.
    """

    __slots__ = ("_event", "_tracker")

    def __init__(self, tracker: DjangoTracker, event: Event) -> None:
        self._tracker = tracker
        self._event: Event | None = event

    def take(self) -> Event | None:
        """Return the event, once."""
        event, self._event = self._event, None
        return event

    def __call__(self) -> None:
        """Send the event, once."""
        event = self.take()
        if event is not None:
            self._tracker._send(event)  # captured already, with its shape

    def __del__(self) -> None:
        """Count an event that was never sent."""
        if getattr(self, "_event", None) is not None:
            self._tracker.count_rolled_back()


class _CommitHooks:
    """In the place of a connection's `run_and_clear_commit_hooks`: what is committed is sent,
    whatever the other hooks do.

    Django lets go of the hooks behind one that raises, as if they belonged to a transaction that
    was rolled back.
    """

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self._connection = connection
        self._run = connection.run_and_clear_commit_hooks

    def __call__(self) -> None:
        """Run all hooks; those of ours that did not have their turn run at the end."""
        hooks = self._connection.run_on_commit
        waiting = [hook for entry in hooks for hook in entry if isinstance(hook, _Waiting)]
        try:
            self._run()
        finally:
            if self._connection.run_on_commit is not hooks:  # taken off to be run: it is committed
                for one in waiting:
                    one()


def _send_all_that_is_committed(connection: BaseDatabaseWrapper) -> None:
    """Make sure, once for each connection, that a hook that raises costs no event of a committed
    transaction.
    """
    if not isinstance(connection.run_and_clear_commit_hooks, _CommitHooks):
        connection.run_and_clear_commit_hooks = _CommitHooks(connection)  # type: ignore[method-assign]  # on this one alone


def emit(
    name: str, data: Any = None, *, on_commit: bool | None = None, using: str | None = None
) -> None:
    """Emit through the default tracker; see `DjangoTracker.emit`."""
    tracker = get_tracker()
    if isinstance(tracker, DjangoTracker):
        tracker.emit(name, data, on_commit=on_commit, using=using)
    else:
        tracker.emit(name, data)
