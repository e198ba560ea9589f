"""Backup copies: they make up for Redis giving a message away before the worker has it.

kombu pops a message from a list, and notes it as unacknowledged only when it has read the reply. A
worker that is killed in between, or that ends while a reply is on its way, loses the message. So a
copy of each batch lies in the same Redis until the batch is done. A thread of each worker sends a
copy again that is overdue while the queue is empty.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs

__all__ = ["BackupCopies"]

_MAX_AT_ONCE: Final = 100


@attrs.frozen
class BackupCopies:
    """The copies of one queue's batches, by the ids of their tasks.

    kombu's own client knows the prefix of keys (`global_keyprefix`) for some commands, more in each
    version, and not in every one for those used here. So a plain client has the connections, and
    the keys are prefixed here.

    Args:
        channel: One of kombu's.
        queue: The name of the queue.
    """

    channel: Any
    queue: str

    @staticmethod
    def client_of(channel: Any) -> tuple[Any, str]:
        """Return a plain client with a channel's connections, and the prefix of its keys."""
        import redis

        prefix = getattr(channel, "global_keyprefix", "") or ""
        return redis.Redis(connection_pool=channel.pool), prefix

    def _key(self, name: str) -> str:
        prefix = getattr(self.channel, "global_keyprefix", "") or ""
        return f"{prefix}eventtracking.{self.queue}.{name}"

    @property
    def _client(self) -> Any:
        return self.client_of(self.channel)[0]

    def keep(self, task_id: str, message: Mapping[str, Any], within_s: float) -> None:
        """Keep a copy, which is overdue after so many seconds."""
        with self._client.pipeline(transaction=True) as pipe:
            pipe.hset(self._key("copies"), task_id, json.dumps(message))
            pipe.zadd(self._key("due"), {task_id: time.time() + within_s})
            pipe.execute()

    def begin(self, task_id: str, within_s: float) -> int:
        """Note that a worker has the batch; return how many have had it, this one included."""
        with self._client.pipeline(transaction=True) as pipe:
            pipe.zadd(self._key("due"), {task_id: time.time() + within_s}, xx=True)
            pipe.zincrby(self._key("begun"), 1, task_id)
            _, times = pipe.execute()
        return int(times)

    def extend(self, task_ids: Sequence[str], within_s: float) -> None:
        """Put off when copies are overdue."""
        if task_ids:
            due_at = time.time() + within_s
            self._client.zadd(self._key("due"), dict.fromkeys(task_ids, due_at), xx=True)

    def give_back(self, task_id: str) -> None:
        """Take back the count of `begin`."""
        self._client.zincrby(self._key("begun"), -1, task_id)

    def drop(self, task_id: str) -> None:
        """Drop the copy of a batch that is done."""
        with self._client.pipeline(transaction=True) as pipe:
            pipe.hdel(self._key("copies"), task_id)
            pipe.zrem(self._key("due"), task_id)
            pipe.zrem(self._key("begun"), task_id)
            pipe.execute()

    def claim(self, for_s: float) -> bool:
        """Whether no other worker has looked for overdue copies lately."""
        return bool(self._client.set(self._key("swept"), "1", nx=True, px=int(for_s * 1000)))

    def overdue(self) -> dict[str, Any]:
        """Return overdue copies, oldest first. One that is no JSON is dropped."""
        client = self._client
        found = client.zrangebyscore(
            self._key("due"), "-inf", time.time(), start=0, num=_MAX_AT_ONCE
        )
        copies: dict[str, Any] = {}
        for raw_id in found:
            task_id = raw_id.decode(errors="replace") if isinstance(raw_id, bytes) else str(raw_id)
            copy = client.hget(self._key("copies"), task_id)
            try:
                if copy is None:
                    raise ValueError
                copies[task_id] = json.loads(copy)
            except ValueError:
                client.zrem(self._key("due"), raw_id)
        return copies
