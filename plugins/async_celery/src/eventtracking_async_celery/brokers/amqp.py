"""RabbitMQ, and other brokers that speak AMQP 0.9.1."""

from __future__ import annotations

import math
from typing import Any, Final

from kombu import Connection, Exchange, Queue

from eventtracking_async_celery.brokers.base import Broker

__all__ = ["AmqpBroker"]

_MAX_DELAY_S: Final = 3600.0
_MIN_WAIT_S: Final = 0.25
_EXPIRES_AFTER_S: Final = 3600.0
"""A waiting queue that has no use for so long is deleted by the broker; it is empty by then."""


class AmqpBroker(Broker):
    """Delays batches in queues of the broker, which passes them on when their time has come.

    A worker that waited itself would hold each batch unacknowledged, and raise its prefetch count
    for the others' sake. Quorum queues do not allow that: there, batches for a dead destination
    would starve the sound ones.
    """

    @classmethod
    def own_options(cls, visibility_timeout_s: float) -> dict[str, Any]:  # noqa: ARG003 - it has no leases
        """Ask for confirmations."""
        return {"confirm_publish": True}

    @classmethod
    def publishing_options(cls, timeout_s: float) -> dict[str, Any]:  # noqa: ARG003 - see `limit`
        """Ask for confirmations."""
        return {"confirm_publish": True}

    @classmethod
    def limit(cls, connection: Connection, timeout_s: float) -> None:
        """Limit every read and write; by itself, py-amqp limits connecting and confirming alone."""
        connection.connection.sock.settimeout(timeout_s)

    @property
    def max_delay_s(self) -> float:
        """No worker holds a batch that waits."""
        return _MAX_DELAY_S

    def delay_options(self, queue: str, delay_s: float) -> dict[str, Any]:
        """Send a delayed batch to a waiting queue, from which it goes to its own."""
        if not delay_s:
            return super().delay_options(queue, delay_s)
        waiting = self._waiting_queue(queue, delay_s)
        return {
            "queue": waiting,
            "routing_key": waiting.name,
            "declare": [self.app.amqp.queues[queue], waiting],
            "expiration": delay_s,
        }

    def _waiting_queue(self, queue: str, delay_s: float) -> Queue:
        """Return the queue for delays of this size.

        A message leaves at its time only if none stands before it that waits longer. So each queue
        has delays of one size, up to twice another, and no message there outlives that time.
        """
        size = max(math.ceil(math.log2(delay_s / _MIN_WAIT_S)), 0)
        longest_s = _MIN_WAIT_S * 2**size
        name = f"{queue}.w{size}"  # no longer than `.dead`
        arguments = {
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": queue,
            "x-message-ttl": int(longest_s * 1000),
            "x-expires": int((longest_s * 2 + _EXPIRES_AFTER_S) * 1000),
            # A classic queue passes messages on without a confirmation: a crash would lose some.
            "x-queue-type": "quorum",
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",
        }
        return Queue(name, Exchange(""), routing_key=name, durable=True, queue_arguments=arguments)
