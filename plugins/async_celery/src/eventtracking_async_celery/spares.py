"""The spare copies: what makes up for Redis giving a message away before the worker has it.

kombu pops a message from a list, and writes it down as unacknowledged only when it has read the
reply. A worker that is killed in between, or that ends while a reply is on its way, loses the
message. So a copy of each batch lies in the same Redis until the batch is done. A thread of each
worker sends a copy again that is overdue while the queue is empty.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any, Final

import attrs
from celery import Celery

from eventtracking_async_celery.apps import visibility_timeout_of

__all__ = ["Spares", "spare_time_s", "sweep_interval_s"]

_MIN_SWEEP_S: Final = 1.0
_MAX_SWEEP_S: Final = 30.0
_MAX_AT_ONCE: Final = 100


def sweep_interval_s(app: Celery) -> float:
    """How often to look for overdue copies."""
    return min(max(visibility_timeout_of(app) / 4, _MIN_SWEEP_S), _MAX_SWEEP_S)


def spare_time_s(app: Celery) -> float:
    """How long a batch may take, from when a worker can have it: longer than kombu takes to give it
    to another worker.
    """
    return 2 * (visibility_timeout_of(app) + sweep_interval_s(app))


@attrs.frozen
class Spares:
    """The copies of one queue's batches, by the ids of their tasks.

    The client is one of kombu's, with its prefix.
    """

    queue: str

    @property
    def _copies(self) -> str:
        return f"eventtracking.{self.queue}.copies"

    @property
    def _due(self) -> str:
        return f"eventtracking.{self.queue}.due"

    @property
    def _begun(self) -> str:
        return f"eventtracking.{self.queue}.begun"

    def keep(self, client: Any, task_id: str, message: Mapping[str, Any], within_s: float) -> None:
        """Keep a copy, which is overdue after so many seconds."""
        with client.pipeline() as pipe:
            pipe.hset(self._copies, task_id, json.dumps(message))
            pipe.zadd(self._due, {task_id: time.time() + within_s})
            pipe.execute()

    def begin(self, client: Any, task_id: str, within_s: float) -> int:
        """Say that a worker has the batch now; tell how often one has had it, this time
        included.
        """
        with client.pipeline() as pipe:
            pipe.zadd(self._due, {task_id: time.time() + within_s}, xx=True)
            pipe.zadd(
                self._begun, {task_id: 1}, incr=True
            )  # a score, because kombu knows how to prefix the keys of these commands
            _, times = pipe.execute()
        return int(times)

    def give_back(self, client: Any, task_id: str) -> None:
        """Take back what `begin` counted."""
        client.zadd(self._begun, {task_id: -1}, incr=True)

    def drop(self, client: Any, task_id: str) -> None:
        """Drop the copy of a batch that is done."""
        with client.pipeline() as pipe:
            pipe.hdel(self._copies, task_id)
            pipe.zrem(self._due, task_id)
            pipe.zrem(self._begun, task_id)
            pipe.execute()

    def claim(self, client: Any, for_s: float) -> bool:
        """Whether no other worker has looked for overdue copies lately."""
        return bool(
            client.set(f"eventtracking.{self.queue}.swept", "1", nx=True, px=int(for_s * 1000))
        )

    def overdue(self, client: Any) -> dict[str, dict[str, Any]]:
        """Return overdue copies, oldest first."""
        found = client.zrange(
            self._due, "-inf", time.time(), byscore=True, offset=0, num=_MAX_AT_ONCE
        )
        copies: dict[str, dict[str, Any]] = {}
        for raw_id in found:
            task_id = raw_id.decode() if isinstance(raw_id, bytes) else str(raw_id)
            copy = client.hget(self._copies, task_id)
            if copy is None:
                client.zrem(self._due, task_id)
            else:
                copies[task_id] = json.loads(copy)
        return copies
