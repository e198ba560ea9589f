"""The publisher: puts a message on a queue, and returns when the broker has confirmed it, or raises
within a time limit.
"""

from __future__ import annotations

import os
import uuid
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

from celery import Celery
from kombu import Connection, Exchange, Producer, Queue

from eventtracking.errors import DeliveryError
from eventtracking_async_celery.content import check_content
from eventtracking_async_celery.spares import Spares, spare_time_s

__all__ = ["TASK_NAME", "PublishError", "Publisher", "publisher_for"]

TASK_NAME: Final = "eventtracking.deliver"

_DEFAULT_TIMEOUT_S: Final = 5.0
_PERSISTENT: Final = 2
"""Said each time, because an application's task_default_delivery_mode may say otherwise."""

_inherited: list[Any] = []
"""What a parent process opened: never used here, never closed, and kept from the garbage collector,
which would close it.
"""
_publishers: weakref.WeakKeyDictionary[Celery, Publisher] = weakref.WeakKeyDictionary()


class PublishError(DeliveryError):
    """Raised when the broker did not confirm a message in time. It may have it all the same.

    Args:
        broker: Where it is, without the user and the password.
        queue: Which queue the message was for.
        reason: The type of the driver's error.
    """

    def __init__(self, broker: str, queue: str, reason: str) -> None:
        super().__init__()
        self.args = (broker, queue, reason)  # what it is pickled by
        self.broker = broker
        self.queue = queue
        self.reason = reason

    def __str__(self) -> str:
        if not self.queue:
            return f"the broker {self.broker} cannot be reached: {self.reason}"
        return (
            f"the broker {self.broker} did not confirm a batch for the queue {self.queue!r}:"
            f" {self.reason}"
        )


def publisher_for(app: Celery, timeout_s: float | None = None) -> Publisher:
    """Return the publisher of an app in this process.

    Args:
        app: Whose broker it is.
        timeout_s: Its time limit from now on; None leaves it as it is.
    """
    publisher = _publishers.setdefault(app, Publisher(app, timeout_s or _DEFAULT_TIMEOUT_S))
    publisher.timeout_s = timeout_s or publisher.timeout_s
    return publisher


class Publisher:
    """Publishes for one app, from any thread, each on a connection of its own while it does.

    Celery's own pool is not used: its connections wait for ever on a broker that is silent, and one
    whose confirmation timed out goes back into it.

    Args:
        app: Whose broker it is.
        timeout_s: For each step: to connect, to open a channel, to confirm.
    """

    def __init__(self, app: Celery, timeout_s: float) -> None:
        self.app = app
        self.timeout_s = timeout_s
        self._idle: deque[Connection] = deque()
        self._pid = os.getpid()
        self._driver: str | None = None

    @property
    def keeps_spares(self) -> bool:
        """Whether the broker is one that needs spare copies."""
        if self._driver is None:
            self._driver = str(self.app.connection_for_write().transport.driver_type)
        return self._driver == "redis" and not self.app.conf.task_always_eager

    def send_task(
        self,
        queue: str,
        message: dict[str, Any],
        delay_s: float = 0.0,
        task_id: str = "",
        spare: bool = True,
    ) -> None:
        """Publish a batch as a task.

        It goes straight to the queue, and says its name: the application's routes could lead
        elsewhere, and a routing key of its own tells a worker nothing. The queue is declared as the
        application's settings say.

        Args:
            queue: The name of the queue.
            message: What `Batch.pack` made.
            delay_s: How long a worker is to wait before it starts.
            task_id: The task's id; a new one if empty.
            spare: Whether to keep a spare copy, on Redis.

        Raises:
            PublishError: If the broker did not confirm it.
            DeliveryError: If the app's workers would drop it.
        """
        check_content(self.app)
        if self.app.conf.task_always_eager:
            self._run_here(queue, message)
            return
        name = task_id or str(uuid.uuid4())
        within_s = delay_s + spare_time_s(self.app)

        def publish(producer: Producer) -> None:
            if spare and self.keeps_spares:
                Spares(queue).keep(producer.channel.client, name, message, within_s)
            self.app.send_task(
                TASK_NAME,
                kwargs={"batch": message, "queue": queue},
                # shown in logs and headers, where no event belongs
                kwargsrepr=f"<{message.get('count', '?')} events>",
                argsrepr="",
                task_id=name,
                queue=queue,
                exchange="",
                routing_key=queue,
                delivery_mode=_PERSISTENT,
                countdown=delay_s or None,
                producer=producer,
                serializer="json",
                compression=None,
                retry=False,
                ignore_result=True,
                add_to_parent=False,
                **self._delivery_options(),
            )

        self._publish(queue, publish)

    def _run_here(self, queue: str, message: dict[str, Any]) -> None:
        """Do the task at once, as the application's tests want it."""
        result = self.app.tasks[TASK_NAME].apply(kwargs={"batch": message, "queue": queue})
        if result.state != "SUCCESS":
            raise PublishError("of an app with task_always_eager", queue, result.state)

    def begin(self, queue: str, task_id: str, redelivered: bool) -> int:
        """Note that a worker has a task now, so that its spare copy is not sent again; if the
        broker is there.

        Args:
            queue: The name of the queue.
            task_id: The task's id.
            redelivered: Whether the broker says that a worker had it before.

        Returns:
            How often a worker has begun it and never come to an end. Redis counts that. Of other
            brokers only `redelivered` is known, which is true as well for what a worker had fetched
            and not begun.
        """
        if not self.keeps_spares:
            return int(redelivered)
        with suppress(PublishError), self.channel() as channel:
            return Spares(queue).begin(channel.client, task_id, spare_time_s(self.app)) - 1
        return 0

    def give_back(self, queue: str, task_id: str) -> None:
        """Note that a worker gives a task back in order, so that it does not count as lost; if the
        broker is there.
        """
        if self.keeps_spares:
            with suppress(PublishError), self.channel() as channel:
                Spares(queue).give_back(channel.client, task_id)

    def finish(self, queue: str, task_id: str) -> None:
        """Drop the spare copy of a task that is done; if the broker is away, the batch comes a
        second time.
        """
        if self.keeps_spares:
            with suppress(PublishError), self.channel() as channel:
                Spares(queue).drop(channel.client, task_id)

    def send_dead(self, queue: str, message: dict[str, Any]) -> None:
        """Put a dead letter on a queue that no worker reads.

        Raises:
            PublishError: If the broker did not confirm it.
        """
        declared = Queue(queue, Exchange(""), routing_key=queue, durable=True)

        def publish(producer: Producer) -> None:
            producer.publish(
                message,
                exchange="",
                routing_key=queue,
                declare=[declared],
                serializer="json",
                retry=False,
                delivery_mode=_PERSISTENT,
                **self._delivery_options(),
            )

        self._publish(queue, publish)

    def _delivery_options(self) -> dict[str, Any]:
        """`mandatory`: RabbitMQ confirms what it cannot route too, and drops it, unless it is told
        to give it back.
        """
        return {"mandatory": True, "timeout": self.timeout_s, "confirm_timeout": self.timeout_s}

    def _publish(self, queue: str, publish: Callable[[Producer], None]) -> None:
        connection = self._take_idle()
        if connection is not None:
            try:
                self._use(connection, publish)
            except Exception:  # noqa: BLE001 - the broker may have closed it in the meantime, so a fresh one may do
                pass
            else:
                return
        try:
            self._use(self._connect(), publish)
        except Exception as error:
            raise self._failure(queue, error) from error

    def _use(self, connection: Connection, publish: Callable[[Producer], None]) -> None:
        with self._kept_if_sound(connection):
            publish(self.app.amqp.Producer(connection, auto_declare=False))

    @contextmanager
    def _kept_if_sound(self, connection: Connection) -> Iterator[None]:
        try:
            yield
        except BaseException:
            _abandon(connection)
            raise
        self._idle.append(connection)

    def _take_idle(self) -> Connection | None:
        if self._pid != os.getpid():
            _inherited.append(self._idle)
            self._idle, self._pid = deque(), os.getpid()
        try:
            return self._idle.pop()
        except IndexError:
            return None

    @contextmanager
    def channel(self) -> Iterator[Any]:
        """Give a channel for anything else, and take it back.

        Raises:
            PublishError: If the broker cannot be reached.
        """
        connection = self._take_idle()
        try:
            connection = connection or self._connect()
        except Exception as error:
            raise self._failure("", error) from error
        try:
            with self._kept_if_sound(connection):
                yield connection.default_channel
        except connection.connection_errors + connection.channel_errors as error:
            raise self._failure("", error) from error

    def probe(self) -> None:
        """See that a new connection can be made, and that what is published would be taken.

        Raises:
            PublishError: If the broker cannot be reached.
            DeliveryError: If the app's workers would drop batches.
        """
        check_content(self.app)
        try:
            connection = self._connect()
            with self._kept_if_sound(connection):
                connection.default_channel  # noqa: B018 - Redis is connected by the first channel
        except Exception as error:
            raise self._failure("", error) from error

    def _connect(self) -> Connection:
        base = self.app.connection_for_write()
        driver = base.transport.driver_type
        options = {**(base.transport_options or {}), **_timeouts(driver, self.timeout_s)}
        connection = base.clone(transport_options=options, connect_timeout=self.timeout_s)
        hosts = len(connection.alt or [""])
        try:
            connection.ensure_connection(max_retries=hosts - 1, interval_start=0, interval_step=0)
            if driver == "amqp":  # else only connecting and confirming have a limit there
                connection.connection.sock.settimeout(self.timeout_s)
        except BaseException:
            _abandon(connection)
            raise
        return connection

    def _failure(self, queue: str, error: Exception) -> PublishError:
        cause = error.__cause__ if error.__cause__ is not None else error
        return PublishError(self.broker, queue, type(cause).__name__)

    @property
    def broker(self) -> str:
        """Where the broker is, without the user and the password."""
        connection = self.app.connection_for_write()
        host = connection.hostname or ""
        shown = host if "@" not in host else "***"
        return f"{connection.transport_cls}://{shown}:{connection.port or ''}"

    def close(self) -> None:
        """Close the connections that nobody uses now."""
        while (connection := self._take_idle()) is not None:
            with suppress(Exception):
                connection.release()


def _timeouts(driver: str, timeout_s: float) -> dict[str, Any]:
    if driver == "amqp":
        return {"confirm_publish": True}
    if driver == "redis":
        return {
            "socket_timeout": timeout_s,
            "socket_connect_timeout": timeout_s,
            "retry_on_timeout": False,
        }
    return {}


def _abandon(connection: Connection) -> None:
    """Drop a broken connection without a farewell, which a silent broker would not answer."""
    with suppress(Exception):
        raw = connection._connection
        if raw is not None and hasattr(raw, "collect"):
            raw.collect()
        connection._connection = None
        connection.release()
