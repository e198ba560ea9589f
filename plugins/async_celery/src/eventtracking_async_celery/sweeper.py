"""The sweeper: a thread of each worker that sends again what Redis had given away and
nobody has.
"""

from __future__ import annotations

import logging
import threading
from typing import Any, Final

from celery import signals

from eventtracking.errors import EventTrackingError
from eventtracking_async_celery import registry
from eventtracking_async_celery.publisher import Publisher
from eventtracking_async_celery.spares import Spares, sweep_interval_s

__all__ = ["Sweeper"]

_log = logging.getLogger("eventtracking.async_celery")
_JOIN_S: Final = 5.0


class Sweeper:
    """A thread that sends overdue copies again, in the main process of a worker.

    Args:
        publisher: For the broker; a Redis.
        queue: Whose copies.
        interval_s: How often to look.
    """

    def __init__(self, publisher: Publisher, queue: str, interval_s: float) -> None:
        self._publisher = publisher
        self._queue = queue
        self._interval_s = interval_s
        self._end = threading.Event()
        self._thread = threading.Thread(
            target=self._run, name=f"eventtracking-sweeper:{queue}", daemon=True
        )

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._end.set()
        self._thread.join(_JOIN_S)

    def _run(self) -> None:
        while not self._end.wait(self._interval_s):
            try:
                count = self.sweep()
            except Exception as error:  # noqa: BLE001 - the broker may be away; it is asked again
                reason = (
                    str(error) if isinstance(error, EventTrackingError) else type(error).__name__
                )
                _log.debug("no look for overdue copies of the queue %r: %s", self._queue, reason)
            else:
                if count:
                    _log.warning(
                        "%d batches of the queue %r had got lost, and are sent again",
                        count,
                        self._queue,
                    )

    def sweep(self) -> int:
        """Send overdue copies again, if the queue is empty and no other worker does.

        Return how many.
        """
        spares = Spares(self._queue)
        with self._publisher.channel() as channel:
            if not spares.claim(channel.client, self._interval_s / 2):
                return 0
            if channel.queue_declare(
                self._queue
            ).message_count:  # an empty list does not exist on Redis
                return 0
            copies = spares.overdue(channel.client)
        for task_id, message in copies.items():
            self._publisher.send_task(self._queue, message, task_id=task_id)
        return len(copies)


_running: list[Sweeper] = []


@signals.worker_ready.connect(weak=False)  # type: ignore[untyped-decorator]  # Celery has no types
def _start(sender: Any, **_: Any) -> None:
    """Sweep for every router whose broker this worker has."""
    app = sender.app
    posts = {owner.queue: owner.post() for owner in registry.owners_of(app)}
    for queue, post in posts.items():
        if post.publisher.keeps_spares and post.keeps_spares:
            _running.append(Sweeper(post.publisher, queue, sweep_interval_s(app)))
            _running[-1].start()


@signals.worker_shutdown.connect(weak=False)  # type: ignore[untyped-decorator]  # Celery has no types
def _stop(**_: Any) -> None:
    while _running:
        _running.pop().stop()
