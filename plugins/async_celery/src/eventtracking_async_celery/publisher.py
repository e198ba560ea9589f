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
from eventtracking_async_celery.apps import shown_broker
from eventtracking_async_celery.brokers.base import Broker
from eventtracking_async_celery.brokers.choice import broker_of
from eventtracking_async_celery.content import check_content

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
        if queue:
            text = f"the broker {broker} did not confirm a batch for the queue {queue!r}: {reason}"
        else:
            text = f"the broker {broker} cannot be reached: {reason}"
        super().__init__(text)
        self.broker = broker
        self.queue = queue
        self.reason = reason

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.broker, self.queue, self.reason)


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

    @property
    def broker(self) -> Broker:
        """The kind of broker that it is."""
        return broker_of(self.app)

    def send_task(
        self,
        queue: str,
        message: dict[str, Any],
        delay_s: float = 0.0,
        task_id: str = "",
        keep_copy: bool = True,
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
            keep_copy: Whether to keep a copy, where the broker needs one.

        Raises:
            PublishError: If the broker did not confirm it.
            DeliveryError: If the app's workers would drop it.
        """
        check_content(self.app)
        if self.app.conf.task_always_eager:
            self._run_here(queue, message)
            return
        name = task_id or str(uuid.uuid4())

        def publish(producer: Producer) -> None:
            if keep_copy:
                self.broker.keep_copy(producer.channel, queue, name, message, delay_s)
            self.app.send_task(
                TASK_NAME,
                kwargs={"batch": message, "queue": queue},
                # shown in logs and headers, where no event belongs
                kwargsrepr=f"<{_count_in(message)} events>",
                argsrepr="",
                task_id=name,
                exchange="",
                delivery_mode=_PERSISTENT,
                producer=producer,
                serializer="json",
                compression=None,
                retry=False,
                ignore_result=True,
                add_to_parent=False,
                **self.broker.delay_options(queue, delay_s),
                **self._delivery_options(),
            )

        self._publish(queue, publish)

    def _run_here(self, queue: str, message: dict[str, Any]) -> None:
        """Do the task at once, as the application's tests want it."""
        result = self.app.tasks[TASK_NAME].apply(kwargs={"batch": message, "queue": queue})
        if result.state != "SUCCESS":
            raise PublishError("of an app with task_always_eager", queue, result.state)

    def begin(self, queue: str, task_id: str, redelivered: bool) -> int:
        """Note that a worker begins a task, if the broker is there.

        Returns:
            How many workers were lost with it.
        """
        broker = self.broker
        if not broker.keeps_copies:
            return broker.begin(None, queue, task_id, redelivered)
        with suppress(PublishError), self.channel() as channel:
            return broker.begin(channel, queue, task_id, redelivered)
        return 0

    def give_back(self, queue: str, task_id: str) -> None:
        """Note that a worker returns a task in order, if the broker is there."""
        if self.broker.keeps_copies:
            with suppress(PublishError), self.channel() as channel:
                self.broker.give_back(channel, queue, task_id)

    def finish(self, queue: str, task_id: str) -> None:
        """Drop the copy of a task that is done; if the broker is away, the batch comes a second
        time.
        """
        if self.broker.keeps_copies:
            with suppress(PublishError), self.channel() as channel:
                self.broker.finish(channel, queue, task_id)

    def send_dead(self, queue: str, message: Any, reason: str = "") -> None:
        """Put a dead letter on a queue that no worker reads.

        Args:
            queue: The name of that queue.
            message: What to put there.
            reason: For a header, where the message itself says none.

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
                headers={"eventtracking_reason": reason} if reason else None,
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
        except Exception as error:  # noqa: BLE001 - drivers raise what they like
            failure = self._failure(queue, error)
        else:
            return
        raise failure  # outside, so that the driver's error, which may quote the URL, is no context

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
        connection = self._take_idle() or self._connected()
        failure = None
        try:
            with self._kept_if_sound(connection):
                yield connection.default_channel
        except connection.connection_errors + connection.channel_errors as error:
            failure = self._failure("", error)
        if failure is not None:
            raise failure

    def _connected(self) -> Connection:
        try:
            return self._connect()
        except Exception as error:  # noqa: BLE001 - drivers raise what they like
            failure = self._failure("", error)
        raise failure

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
        except Exception as error:  # noqa: BLE001 - drivers raise what they like
            failure = self._failure("", error)
        else:
            return
        raise failure

    def _connect(self) -> Connection:
        base = self.app.connection_for_write()
        limits = self.broker.publishing_options(self.timeout_s)
        options = {**(base.transport_options or {}), **limits}
        connection = base.clone(transport_options=options, connect_timeout=self.timeout_s)
        hosts = len(connection.alt or [""])
        try:
            connection.ensure_connection(max_retries=hosts - 1, interval_start=0, interval_step=0)
            self.broker.limit(connection, self.timeout_s)
        except BaseException:
            _abandon(connection)
            raise
        return connection

    def _failure(self, queue: str, error: Exception) -> PublishError:
        cause = error.__cause__ if error.__cause__ is not None else error
        place = shown_broker(self.app.connection_for_write())
        return PublishError(place, queue, type(cause).__name__)

    def close(self) -> None:
        """Close the connections that nobody uses now."""
        while (connection := self._take_idle()) is not None:
            with suppress(Exception):
                connection.release()


def _count_in(message: Any) -> int | str:
    """Read the number of events from a message of any form; nothing else of it is shown."""
    count = message.get("count") if isinstance(message, dict) else None
    return count if isinstance(count, int) else "?"


def _abandon(connection: Connection) -> None:
    """Drop a broken connection without a farewell, which a silent broker would not answer."""
    with suppress(Exception):
        raw = connection._connection
        if raw is not None and hasattr(raw, "collect"):
            raw.collect()
        connection._connection = None
        connection.release()
