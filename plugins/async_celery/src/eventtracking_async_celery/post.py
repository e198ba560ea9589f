"""The post: the queue of batches and the queue of dead letters that belong to one route."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import attrs

from eventtracking_async_celery.batch import Batch, Compression
from eventtracking_async_celery.publisher import Publisher

__all__ = ["DEAD_SUFFIX", "Post"]

DEAD_SUFFIX: Final = ".dead"


@attrs.frozen(eq=False)
class Post:
    """Every method returns when the broker has confirmed.

    Args:
        publisher: For the broker.
        queue: What the workers read.
        compression: For what is sent from here; what comes says itself how it is compressed.
        keeps_spares: Whether a copy of each batch is kept, on Redis.
    """

    publisher: Publisher
    queue: str
    compression: Compression = "none"
    keeps_spares: bool = True

    def send(self, batch: Batch, delay_s: float = 0.0) -> None:
        """Send a batch to the workers.

        Args:
            batch: What they are to deliver.
            delay_s: When, in seconds from now.

        Raises:
            PublishError: If the broker did not confirm it.
        """
        self.publisher.send_task(
            self.queue, batch.pack(self.compression), delay_s, spare=self.keeps_spares
        )

    def bury(self, batch: Batch) -> None:
        """Put dead letters away.

        Raises:
            PublishError: If the broker did not confirm it.
        """
        self.publisher.send_dead(self.queue + DEAD_SUFFIX, batch.pack(self.compression))

    def send_again(self, message: Mapping[str, Any], delay_s: float) -> None:
        """Send a message that cannot be read, or delivered, here, unchanged, for later or for
        another worker.

        Raises:
            PublishError: If the broker did not confirm it.
        """
        self.publisher.send_task(self.queue, dict(message), delay_s)
