"""Redis, alone or behind sentinels."""

from __future__ import annotations

import time
from itertools import islice
from typing import Any, ClassVar, Final

from eventtracking_async_celery.brokers.backup_copies import BackupCopies
from eventtracking_async_celery.brokers.base import Broker

__all__ = ["RedisBroker"]

_MIN_SWEEP_S: Final = 1.0
_MAX_SWEEP_S: Final = 10.0
_MAX_COPY_SWEEP_S: Final = 30.0
_SOCKET_TIMEOUT_S: Final = 15.0
"""How long Redis may take to answer a worker.

It waits a second itself for the next message, and a big save may stop it for some.
"""
_CONNECT_TIMEOUT_S: Final = 10.0
_HEALTH_CHECK_S: Final = 10
"""How often kombu looks whether the connection on which a worker waits for messages still answers.
"""
_TAGS_AT_ONCE: Final = 1000


class RedisBroker(Broker):
    """Gives a batch to another worker after a time, and can lose one on its way to a worker."""

    keeps_copies: ClassVar[bool] = True
    has_leases: ClassVar[bool] = True

    @classmethod
    def own_options(cls, visibility_timeout_s: float) -> dict[str, Any]:
        """Use keys of our own, and limits where kombu would wait for ever."""
        return {
            "visibility_timeout": visibility_timeout_s,
            # kombu gives back what is overdue in the whole database, by the shortest timeout of all
            # workers there: with keys of our own, the tasks of an application that shares the
            # database keep theirs.
            "unacked_key": "eventtracking.unacked",
            "unacked_index_key": "eventtracking.unacked_index",
            "unacked_mutex_key": "eventtracking.unacked_mutex",
            "unacked_mutex_expire": 30,
            # By default kombu looks for overdue messages every hundred seconds.
            "unacked_restore_interval": min(
                max(visibility_timeout_s / 4, _MIN_SWEEP_S), _MAX_SWEEP_S
            ),
            "unacked_restore_throttle": 1,
            "socket_keepalive": True,
            # Without these, a worker whose connection has gone silent waits for ever.
            "socket_timeout": _SOCKET_TIMEOUT_S,
            "socket_connect_timeout": _CONNECT_TIMEOUT_S,
            "health_check_interval": _HEALTH_CHECK_S,
        }

    @classmethod
    def publishing_options(cls, timeout_s: float) -> dict[str, Any]:
        """Limit each answer of Redis."""
        return {
            "socket_timeout": timeout_s,
            "socket_connect_timeout": timeout_s,
            "retry_on_timeout": False,
        }

    # Copies

    @property
    def copy_sweep_interval_s(self) -> float:
        """How often to look for overdue copies."""
        return min(max(self.visibility_timeout_s / 4, _MIN_SWEEP_S), _MAX_COPY_SWEEP_S)

    @property
    def _copy_time_s(self) -> float:
        """How long a batch may take, from when a worker can have it: longer than kombu takes to
        give it to another worker.
        """
        return 2 * (self.visibility_timeout_s + self.copy_sweep_interval_s)

    def keep_copy(
        self, channel: Any, queue: str, task_id: str, message: dict[str, Any], delay_s: float
    ) -> None:
        """Keep a copy, which is overdue when no worker can have the batch any more."""
        BackupCopies(channel, queue).keep(task_id, message, delay_s + self._copy_time_s)

    def begin(self, channel: Any, queue: str, task_id: str, redelivered: bool) -> int:  # noqa: ARG002 - the count here is exact
        """Count the workers that began the batch, and keep its copy from being sent again."""
        return BackupCopies(channel, queue).begin(task_id, self._copy_time_s) - 1

    def give_back(self, channel: Any, queue: str, task_id: str) -> None:
        """Take back the count of `begin`."""
        BackupCopies(channel, queue).give_back(task_id)

    def finish(self, channel: Any, queue: str, task_id: str) -> None:
        """Drop the copy."""
        BackupCopies(channel, queue).drop(task_id)

    def extend_copies(self, channel: Any, queue: str, task_ids: list[str]) -> None:
        """Put off when copies are overdue, because a worker has their batches."""
        BackupCopies(channel, queue).extend(task_ids, self._copy_time_s)

    # Leases

    def extend_leases(self, channel: Any, tags: list[str]) -> None:
        """Extend leases; those that have ended meanwhile stay so."""
        client, prefix = BackupCopies.client_of(channel)
        remaining = iter(tags)
        while some := list(islice(remaining, _TAGS_AT_ONCE)):
            now = time.time()
            client.zadd(f"{prefix}{channel.unacked_index_key}", dict.fromkeys(some, now), xx=True)
