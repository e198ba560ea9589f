"""The queue of one route on the broker, and that of its dead letters."""

from __future__ import annotations

from typing import Any, Final

import attrs

from eventtracking_async_celery.batch import Batch
from eventtracking_async_celery.envelope import Compression
from eventtracking_async_celery.publisher import Publisher

__all__ = ["DEAD_SUFFIX", "BatchQueue"]

DEAD_SUFFIX: Final = ".dead"


@attrs.frozen(eq=False)
class BatchQueue:
    """Every method returns when the broker has confirmed.

    Args:
        publisher: For the broker.
        name: The queue that the workers read.
        compression: For what is sent from here; what comes says itself how it is compressed.
        keeps_copies: Whether a copy of each batch is kept, on Redis.
    """

    publisher: Publisher
    name: str
    compression: Compression = "none"
    keeps_copies: bool = True

    def send(self, batch: Batch, delay_s: float = 0.0) -> None:
        """Send a batch to the workers.

        Args:
            batch: What they are to deliver.
            delay_s: When, in seconds from now.

        Raises:
            PublishError: If the broker did not confirm it.
        """
        self.send_message(batch.pack(self.compression), delay_s)

    def bury(self, batch: Batch) -> None:
        """Put dead letters away.

        Raises:
            PublishError: If the broker did not confirm it.
        """
        self.publisher.send_dead(self.name + DEAD_SUFFIX, batch.pack(self.compression))

    def send_message(self, message: Any, delay_s: float = 0.0) -> None:
        """Send a message as it is, now or for later.

        Raises:
            PublishError: If the broker did not confirm it.
        """
        self.publisher.send_task(self.name, message, delay_s, keep_copy=self.keeps_copies)

    def bury_as_it_is(self, message: Any, reason: str) -> None:
        """Put a message that no version can read with the dead letters, unchanged.

        Raises:
            PublishError: If the broker did not confirm it.
        """
        self.publisher.send_dead(self.name + DEAD_SUFFIX, message, reason)
