"""The dead letters: on a queue of their own, which no worker reads, until somebody replays or
purges them.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import attrs
from kombu import Exchange, Message, Queue

from eventtracking_async_celery.batch import MAX_UNPACKED_BYTES, Batch
from eventtracking_async_celery.batch_queue import DEAD_SUFFIX, BatchQueue
from eventtracking_buffer.dead_letters import DeadLetter, Selection

__all__ = ["DeadLetters"]

_MAX_READ: Final = 100_000
"""Messages held at once: they are on nobody's queue meanwhile."""


@attrs.frozen(eq=False)
class DeadLetters:
    """The dead letters of one route's queue.

    Reading takes the messages off the queue and puts them back; if this process dies meanwhile,
    RabbitMQ puts them back at once, and a worker of the queue does on Redis, after the visibility
    timeout.

    Args:
        queue: The queue of the router.
        tracker: The name of the tracker.
        path: The path of the router; letters of other trackers and routers on the same queue stay
            as they are.
    """

    queue: BatchQueue
    tracker: str
    path: str
    max_unpacked_bytes: int = MAX_UNPACKED_BYTES

    def select(self, selection: Selection) -> list[DeadLetter]:
        """Return the dead letters that are meant, oldest first."""
        with self._held() as held:
            return [
                letter
                for batch in held.values()
                for letter in _letters(batch)
                if selection.matches(letter)
            ]

    def replay(self, selection: Selection) -> int:
        """Send dead letters to the workers again, for the route where they died. Return how many.

        Raises:
            PublishError: If the broker did not confirm; those that it had not confirmed stay dead
                letters.
        """
        return self._take(selection, lambda batch: self.queue.send(_revived(batch)))

    def purge(self, selection: Selection) -> int:
        """Delete dead letters for good. Return how many.

        Raises:
            PublishError: If the broker cannot be reached.
        """
        return self._take(selection, None)

    def _take(self, selection: Selection, use: Callable[[Batch], None] | None) -> int:
        count = 0
        with self._held() as held:
            for message, batch in list(held.items()):
                meant = {letter.event.id for letter in _letters(batch) if selection.matches(letter)}
                if meant:
                    self._split(batch, meant, use)
                    message.ack()
                    del held[message]
                    count += len(meant)
        return count

    def _split(self, batch: Batch, meant: set[str], use: Callable[[Batch], None] | None) -> None:
        """Use a part of a message, and bury the rest anew, before the message goes."""
        rest = [event for event in batch.events if event.id not in meant]
        if rest:
            self.queue.bury(batch.part(rest))
        if use is not None:
            use(batch.part([event for event in batch.events if event.id in meant]))

    @contextmanager
    def _held(self) -> Iterator[dict[Message, Batch]]:
        """Take every message that this version can read; put back what is left at the end."""
        name = self.queue.name + DEAD_SUFFIX
        with self.queue.publisher.channel() as channel:
            dead = Queue(name, Exchange(""), routing_key=name, durable=True)(channel)
            dead.queue_declare()
            taken: list[Message] = []
            held: dict[Message, Batch] = {}
            try:
                self._read(dead, taken, held)
                yield held
            finally:
                for message in taken:
                    if not message.acknowledged:
                        message.requeue()

    def _read(self, dead: Any, taken: list[Message], held: dict[Message, Batch]) -> None:
        while (
            len(taken) < _MAX_READ
            and (message := dead.get(no_ack=False, accept=["json"])) is not None
        ):
            taken.append(message)
            batch = self._opened(message)
            if batch is not None and (batch.tracker, batch.path) == (self.tracker, self.path):
                held[message] = batch

    def _opened(self, message: Message) -> Batch | None:
        try:
            return Batch.unpack(message.payload, self.max_unpacked_bytes)
        except Exception:  # noqa: BLE001 - a later version's, or damaged: it stays
            return None


def _letters(batch: Batch) -> Iterator[DeadLetter]:
    for event in batch.events:
        yield DeadLetter(
            number=zlib.crc32(f"{event.id} {batch.leaf}".encode()),
            route=batch.leaf,
            event=event,
            reason=batch.dead.get(event.id, "unknown"),
            attempts=batch.tries,
            first_at=batch.first_at,
            last_at=batch.died_at,
        )


def _revived(batch: Batch) -> Batch:
    """A batch for the leaf where it died, as if it had never been tried."""
    return attrs.evolve(
        batch.only_at(batch.leaf, batch.events),
        attempt=0,
        lost=0,
        first_at=0.0,
        dead={},
        died_at=0.0,
        pauses={},
        spared={},
    )
