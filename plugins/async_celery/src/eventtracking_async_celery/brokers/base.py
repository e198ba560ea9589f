"""A broker about which nothing special is known: the promises of every kombu transport."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from celery import Celery
from kombu import Connection

__all__ = ["CELERY_DEFAULT_VISIBILITY_S", "Broker"]

CELERY_DEFAULT_VISIBILITY_S: Final = 3600.0
_MAX_DELAY_S: Final = 900.0
"""A delayed batch is held by a worker meanwhile, and brokers limit that to half an hour or so."""


class Broker:
    """The peculiarities of one app's broker.

    Args:
        app: The Celery app that names it.
    """

    keeps_copies: ClassVar[bool] = False
    """Whether the broker can lose a batch on its way to a worker, so that a copy is kept."""
    has_leases: ClassVar[bool] = False
    """Whether a batch goes to another worker after a time, unless its worker extends the lease."""

    def __init__(self, app: Celery) -> None:
        self.app = app

    # Settings

    @classmethod
    def problem(cls, broker_url: str) -> str:  # noqa: ARG003 - other kinds look at it
        """Say why a URL cannot work; empty if it can. Nothing is connected."""
        return ""

    @classmethod
    def split(cls, broker_url: str) -> tuple[str, dict[str, Any]]:
        """Split a URL into the one for kombu, and transport options that stand in its query."""
        return broker_url, {}

    @classmethod
    def own_options(cls, visibility_timeout_s: float) -> dict[str, Any]:
        """Return the transport options of an app made for a `broker_url`."""
        return {"visibility_timeout": visibility_timeout_s}

    @classmethod
    def publishing_options(cls, timeout_s: float) -> dict[str, Any]:  # noqa: ARG003 - other kinds use it
        """Return the transport options that limit each step of a publication."""
        return {}

    @classmethod
    def limit(cls, connection: Connection, timeout_s: float) -> None:
        """Limit the time of each step on an open connection."""

    @property
    def visibility_timeout_s(self) -> float:
        """Seconds after which an unacknowledged batch goes to another worker."""
        options = self.app.conf.broker_transport_options
        return float(options.get("visibility_timeout", CELERY_DEFAULT_VISIBILITY_S))

    @property
    def max_delay_s(self) -> float:
        """Longest delay of one message; a longer pause takes several."""
        return min(_MAX_DELAY_S, self.visibility_timeout_s / 2)

    # Publishing

    def delay_options(self, queue: str, delay_s: float) -> dict[str, Any]:
        """Return the options of `send_task` that deliver a message to a queue after a delay."""
        return {"queue": queue, "routing_key": queue, "countdown": delay_s or None}

    def keep_copy(
        self, channel: Any, queue: str, task_id: str, message: dict[str, Any], delay_s: float
    ) -> None:
        """Keep a copy of a batch that is about to be published."""

    # Working

    def begin(self, channel: Any, queue: str, task_id: str, redelivered: bool) -> int:  # noqa: ARG002 - other kinds ask
        """Note that a worker begins a batch; return how many workers were lost with it.

        Args:
            redelivered: Whether the broker gave it to a worker before. That is all that most
                brokers tell, and true as well for a batch that was fetched and never begun.
        """
        return int(redelivered)

    def give_back(self, channel: Any, queue: str, task_id: str) -> None:
        """Note that a worker returns a batch in order, so that it does not count as lost."""

    def finish(self, channel: Any, queue: str, task_id: str) -> None:
        """Drop the copy of a batch that is done."""

    def extend_leases(self, channel: Any, tags: list[str]) -> None:
        """Extend the leases of the messages that a worker holds."""
