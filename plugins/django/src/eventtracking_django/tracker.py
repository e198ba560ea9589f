"""The tracker of a Django project, which knows of transactions."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from eventtracking import Event, Outcome, Tracker
from eventtracking.tracker import get_tracker
from eventtracking_django import conf

__all__ = ["DjangoTracker", "emit"]


class DjangoTracker(Tracker):
    """A tracker whose events may wait for the surrounding transaction.

    An event that waits is captured at once: its time, its context and a copy of its data are those of the call. It is
    sent when the transaction commits; if that is rolled back, it is counted as filtered.

    Args:
        refusal: What becomes of events without a config, and why.
    """

    def __init__(self, refusal: tuple[Outcome, str] = (Outcome.FAILED, "the tracker is not configured")) -> None:
        super().__init__(refusal)
        self.waits_for_commit = conf.on_commit()
        """Whether an event waits unless its call says otherwise."""

    def emit(self, name: str, data: Any = None, *, on_commit: bool | None = None, using: str | None = None) -> None:
        """Capture an event and send it, at once or on commit.

        Args:
            name: What happened.
            data: The facts.
            on_commit: Whether to wait for the transaction. None: as `EVENT_TRACKING_ON_COMMIT` says.
            using: The alias of the database whose transaction it is. None: the default one.

        Raises:
            DataError: In strict mode only, as `Tracker.emit`.
        """
        waits = self.waits_for_commit if on_commit is None else on_commit
        connection = self._transaction(using) if waits else None
        if connection is None:
            super().emit(name, data)
        else:
            connection.on_commit(_Waiting(self, self._capture(name, data)))

    def _transaction(self, using: str | None) -> BaseDatabaseWrapper | None:
        """The connection whose transaction is open, if there is one."""
        try:
            connection = transaction.get_connection(using)
        except Exception as error:  # noqa: BLE001 - emit() does not raise: an unknown alias must not cost the request
            self._report([f"the event does not wait: no database {using!r} ({type(error).__name__})"])
            return None
        return connection if connection.in_atomic_block else None

    def _capture(self, name: Any, data: Any) -> Event:
        text = name if isinstance(name, str) and name else self._mend_name(name)
        copy = self._mend({} if data is None else data)
        facts = copy if isinstance(copy, dict) else self._wrap(copy)
        return Event(name=text, data=facts, context=self.resolve_context())

    def count_rolled_back(self) -> None:
        """Count one event whose transaction was rolled back."""
        self._refuse(Outcome.FILTERED, "the transaction was rolled back")


class _Waiting:
    """An event that waits for a commit.

    Django calls it then, and otherwise just lets go of it; there is no other sign of a rollback.
    """

    __slots__ = ("_event", "_tracker")

    def __init__(self, tracker: DjangoTracker, event: Event) -> None:
        self._tracker = tracker
        self._event: Event | None = event

    def __call__(self) -> None:
        """Send the event."""
        event, self._event = self._event, None
        if event is not None:
            self._tracker.submit(event)

    def __del__(self) -> None:
        """Count an event that was never sent."""
        if getattr(self, "_event", None) is not None:
            self._tracker.count_rolled_back()


def emit(name: str, data: Any = None, *, on_commit: bool | None = None, using: str | None = None) -> None:
    """Emit through the default tracker; see `DjangoTracker.emit`."""
    tracker = get_tracker()
    if isinstance(tracker, DjangoTracker):
        tracker.emit(name, data, on_commit=on_commit, using=using)
    else:
        tracker.emit(name, data)
