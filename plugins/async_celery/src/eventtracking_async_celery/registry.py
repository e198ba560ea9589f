"""The registry: which router of this plugin owns which routes, so that a worker can ask it how to
go on.
"""

from __future__ import annotations

import weakref
from typing import Any, Protocol

from celery import Celery

from eventtracking.errors import DeliveryError
from eventtracking.protocols import Downstream
from eventtracking.tracker import Tracker
from eventtracking_async_celery.backoff import Backoff
from eventtracking_async_celery.batch_queue import BatchQueue
from eventtracking_async_celery.pauses import Pauses
from eventtracking_async_celery.pulse import Pulse
from eventtracking_async_celery.worker_counts import WorkerCounts

__all__ = ["Owner", "add", "is_of", "owner_of", "owners", "owners_in", "owners_of"]

_owners: weakref.WeakSet[Any] = weakref.WeakSet()


class Owner(Protocol):
    """What a worker wants to know of a router."""

    broker_url: str | None
    queue: str
    max_attempts: int
    max_age_s: float | None
    spare_copies: bool
    max_unpacked_bytes: int

    @property
    def downstream(self) -> Downstream:
        """The routes below it."""

    @property
    def app(self) -> Celery:
        """The Celery app whose broker it is."""

    @property
    def path(self) -> str:
        """Its path in the tree."""

    @property
    def backoff(self) -> Backoff:
        """How long to wait between attempts."""

    @property
    def max_delay_s(self) -> float:
        """Longest delay of one message."""

    pauses: Pauses
    pulse: Pulse
    worker_counts: WorkerCounts

    def batch_queue(self) -> BatchQueue:
        """Return its queue on the broker."""


def add(owner: Owner) -> None:
    """Note a router, for as long as it exists."""
    _owners.add(owner)


def owner_of(downstream: Downstream) -> Owner | None:
    """Return the router that owns these routes, if it is one of this plugin."""
    return next((owner for owner in owners() if owner.downstream is downstream), None)


def owners() -> list[Owner]:
    """Return every router of this plugin in this process."""
    return list(_owners)


def owners_in(tracker: Tracker) -> list[Owner]:
    """Return the routers of this plugin in one tracker's tree, by their paths."""
    return sorted(
        (owner for owner in owners() if _is_in(tracker, owner)), key=lambda owner: owner.path
    )


def is_of(owner: Owner, app: Celery) -> bool:
    """Whether a router publishes by an app.

    One that means the application's app has none in a worker without the application.
    """
    try:
        return owner.app is app
    except DeliveryError:
        return False


def owners_of(app: Celery) -> list[Owner]:
    """Return the routers of this plugin that publish by an app."""
    return [owner for owner in owners() if is_of(owner, app)]


def _is_in(tracker: Tracker, owner: Owner) -> bool:
    try:
        return tracker.downstream(owner.path) is owner.downstream
    except KeyError:
        return False
