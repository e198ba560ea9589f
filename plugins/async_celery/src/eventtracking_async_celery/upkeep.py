"""The upkeep: a thread of each worker for what a broker with leases needs.

Redis gives a batch to another worker when its lease ends, and can lose one on the way to a worker.
The main process of a worker extends the leases of all batches that it holds, for as long as it
lives, whichever pool delivers them, and sends copies of lost ones again.
"""

from __future__ import annotations

import logging
import threading
import time
from datetime import datetime
from typing import Any, Final

import attrs
from celery import signals
from celery.worker import state

from eventtracking.errors import EventTrackingError
from eventtracking_async_celery import registry
from eventtracking_async_celery.brokers.backup_copies import BackupCopies
from eventtracking_async_celery.brokers.redis import RedisBroker
from eventtracking_async_celery.publisher import TASK_NAME, Publisher, publisher_for

__all__ = ["Upkeep"]

_log = logging.getLogger("eventtracking.async_celery")
_JOIN_S: Final = 5.0
_LEASE_PARTS: Final = 6
"""Extended so many times before it would end, so that a slow answer or two do no harm."""
_MAX_INTERVAL_S: Final = 10.0


@attrs.define(eq=False)
class Upkeep:
    """The thread of one worker.

    Args:
        publisher: For the broker; a Redis.
        consumer: Celery's, with the connection that holds the messages.
        queues: The queues whose copies are watched.
    """

    publisher: Publisher
    consumer: Any
    queues: list[str]
    _end: threading.Event = attrs.field(factory=threading.Event, init=False)
    _thread: threading.Thread = attrs.field(init=False)
    _swept_at: float = attrs.field(factory=time.monotonic, init=False)

    def __attrs_post_init__(self) -> None:
        self._thread = threading.Thread(target=self._run, name="eventtracking-upkeep", daemon=True)

    @property
    def _broker(self) -> RedisBroker:
        broker = self.publisher.broker
        assert isinstance(broker, RedisBroker)  # noqa: S101 - narrowed by `_start`
        return broker

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._end.set()
        self._thread.join(_JOIN_S)

    def _run(self) -> None:
        interval_s = min(self._broker.visibility_timeout_s / _LEASE_PARTS, _MAX_INTERVAL_S)
        while not self._end.wait(interval_s):
            try:
                self.extend_leases()
                self._sweep_if_due()
            except Exception as error:  # noqa: BLE001 - the broker may be away; it is asked again
                shown = isinstance(error, EventTrackingError)
                reason = str(error) if shown else type(error).__name__
                _log.debug("upkeep of the broker failed: %s; will retry", reason)

    # Leases

    def extend_leases(self) -> None:
        """Extend the lease of each batch that this worker holds, begun or waiting.

        The same holds for the copies: one that waits here for its turn is not lost.
        """
        held = self._held()
        if held:
            with self.publisher.channel() as channel:
                self._broker.extend_leases(channel, list(held))
                due_ids = [task_id for task_id in held.values() if task_id]
                for queue in self.queues:
                    self._broker.extend_copies(channel, queue, due_ids)

    def _held(self) -> dict[str, str]:
        """Return the delivery tags of this plugin's messages, with the ids of those that are due.

        Those that are being delivered stand apart: after a lost connection the new channel does
        not know them.
        """
        # kombu has no public list of what a channel holds
        delivered = self.consumer.task_consumer.channel.qos._delivered
        messages = [message for _, message in list(delivered.items())]
        messages += [request.message for request in list(state.active_requests)]
        return {
            message.delivery_tag: "" if _is_early(message) else message.headers["id"]
            for message in messages
            if message.headers.get("task") == TASK_NAME
        }

    # Copies

    def _sweep_if_due(self) -> None:
        interval_s = self._broker.copy_sweep_interval_s
        if time.monotonic() - self._swept_at < interval_s:
            return
        self._swept_at = time.monotonic()
        for queue in self.queues:
            count = self.sweep(queue)
            if count:
                _log.warning(
                    "queue %r: %d batches had been lost on their way to a worker; sent again",
                    queue,
                    count,
                )

    def sweep(self, queue: str) -> int:
        """Send overdue copies again, if the queue is empty and no other worker does.

        Return how many.
        """
        with self.publisher.channel() as channel:
            copies = BackupCopies(channel, queue)
            if not copies.claim(self._broker.copy_sweep_interval_s / 2):
                return 0
            if channel.queue_declare(queue).message_count:  # an empty list does not exist on Redis
                return 0
            overdue = copies.overdue()
        for task_id, message in overdue.items():
            self.publisher.send_task(queue, message, task_id=task_id)
        return len(overdue)


def _is_early(message: Any) -> bool:
    """Whether a message waits in the worker for its time; its copy knows of that."""
    try:
        eta = datetime.fromisoformat(message.headers.get("eta") or "")
    except ValueError:
        return False
    return eta.timestamp() > time.time()


_running: list[Upkeep] = []


@signals.worker_ready.connect(weak=False)  # type: ignore[untyped-decorator]  # Celery has no types
def _start(sender: Any, **_: Any) -> None:
    """Begin, where this worker delivers for a router and its broker has leases."""
    publisher = publisher_for(sender.app)
    owners = registry.owners_of(sender.app)
    if owners and isinstance(publisher.broker, RedisBroker):
        queues = {owner.queue for owner in owners if owner.spare_copies}
        _running.append(Upkeep(publisher, sender, sorted(queues)))
        _running[-1].start()


@signals.worker_shutdown.connect(weak=False)  # type: ignore[untyped-decorator]  # Celery has no types
def _stop(**_: Any) -> None:
    while _running:
        _running.pop().stop()
