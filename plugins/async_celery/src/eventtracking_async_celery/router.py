"""The router `async_celery`: batches go to a broker, and a worker delivers them at the same path of
the same config.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Annotated, ClassVar, Final

import attrs
import msgspec
from celery import Celery

from eventtracking import Event, Rejected
from eventtracking.counts import Counts
from eventtracking.errors import DeliveryError, OptionsError
from eventtracking.protocols import Downstream
from eventtracking.tracker import DEFAULT_NAME, registered_trackers
from eventtracking_async_celery import readiness, registry, shutdown, task, upkeep
from eventtracking_async_celery.apps import application_app, own_app
from eventtracking_async_celery.backoff import Backoff
from eventtracking_async_celery.batch import MAX_UNPACKED_BYTES, Batch
from eventtracking_async_celery.batch_queue import BatchQueue
from eventtracking_async_celery.brokers.choice import broker_of
from eventtracking_async_celery.dead_letters import DeadLetters
from eventtracking_async_celery.envelope import Compression
from eventtracking_async_celery.memory import MemoryBuffer
from eventtracking_async_celery.options import queue_problem, url_problem
from eventtracking_async_celery.pauses import Pauses
from eventtracking_async_celery.publisher import publisher_for
from eventtracking_async_celery.pulse import Pulse
from eventtracking_async_celery.worker_counts import WorkerCounts
from eventtracking_buffer import codec
from eventtracking_buffer.dead_letters import DeadLetter, Selection

__all__ = ["AsyncCeleryRouter"]

_DEFAULT_VISIBILITY_S: Final = 300.0
_WORKER_PARTS: Final = (readiness, shutdown, task, upkeep)
"""Imported for what that does: each connects to signals of Celery's; `task` registers the task."""

_MAX_BATCH_BYTES: Final = 8_000_000
"""Of the events of one batch, before compression: RabbitMQ refuses messages of more than 16 MB."""
_BODY_OVERHEAD_BYTES: Final = 100_000
"""Room in a body for the standing of one event."""

_NOT_BEFORE_BROKER: Final = frozenset({"buffer", "async_celery"})
"""Below these, nobody's request waits for `send`, and what is above lets go of an event when `send`
returns.
"""

_ALL: Final = Selection()

PositiveInt = Annotated[int, msgspec.Meta(ge=1)]
PositiveFloat = Annotated[float, msgspec.Meta(gt=0)]


@attrs.define(eq=False, slots=False)
class AsyncCeleryRouter:
    """Hand events in batches to Celery workers, which deliver them to the routes below.

    `send` returns when the broker has confirmed the batch. Where no buffer stands above, a buffer
    in memory is put before it, so that publishing is never the caller's work. Safe from any thread,
    and in forked children.
    """

    broker_url: str | None = attrs.field(
        default=None,
        repr=False,
        metadata={
            "help": (
                "Where the broker is: Redis, RabbitMQ, or what else Celery knows. None: that of the"
                " application's Celery app."
            )
        },
    )
    queue: Annotated[str, msgspec.Meta(min_length=1, max_length=200)] = attrs.field(
        default="eventtracking",
        metadata={
            "help": (
                "The queue that the workers read. Dead letters go to the one of this name and"
                " `.dead`."
            )
        },
    )
    max_batch_events: PositiveInt = attrs.field(
        default=500, metadata={"help": "How many events one task carries at most."}
    )
    compression: Compression = attrs.field(
        default="zlib", metadata={"help": "How the events of a batch are compressed."}
    )
    max_unpacked_bytes: Annotated[int, msgspec.Meta(ge=1_000_000)] = attrs.field(
        default=MAX_UNPACKED_BYTES,
        metadata={
            "help": (
                "How many bytes a worker unpacks of one message at most; a larger one becomes a"
                " dead letter as it is."
            )
        },
    )
    publish_timeout_s: PositiveFloat = attrs.field(
        default=5.0,
        metadata={
            "help": "How long the broker may take for each step of a publication, in seconds."
        },
    )
    max_attempts: PositiveInt = attrs.field(
        default=20,
        metadata={
            "help": (
                "How often a batch is tried at a failing route before its events become dead"
                " letters."
            )
        },
    )
    max_age_s: PositiveFloat | None = attrs.field(
        default=None,
        metadata={
            "help": (
                "How long after its first attempt a batch may be tried again, in seconds. None: no"
                " limit."
            )
        },
    )
    min_retry_s: PositiveFloat = attrs.field(
        default=1.0,
        metadata={
            "help": "The longest wait before the second attempt, in seconds; it doubles each time."
        },
    )
    max_retry_s: PositiveFloat = attrs.field(
        default=300.0,
        metadata={
            "help": (
                "The longest wait of all, in seconds; never more than half of"
                " `visibility_timeout_s`."
            )
        },
    )
    visibility_timeout_s: PositiveFloat | None = attrs.field(
        default=None,
        metadata={
            "help": (
                "Redis: after how many seconds the batch of a killed worker goes to another one;"
                f" longer than a batch takes. None: {_DEFAULT_VISIBILITY_S:g}, or what the"
                " application's Celery app says."
            )
        },
    )
    spare_copies: bool = attrs.field(
        default=True,
        metadata={
            "help": (
                "Redis: keep a copy of each batch until it is delivered, for a killed worker loses"
                " what Redis has just handed to it."
            )
        },
    )
    max_buffered_events: PositiveInt = attrs.field(
        default=100_000,
        metadata={
            "help": (
                "How many events may wait in memory for the broker, where no buffer stands above."
            )
        },
    )
    defers: ClassVar[bool] = True
    downstream: Downstream = attrs.field(init=False, repr=False)
    worker_counts: WorkerCounts = attrs.field(init=False, repr=False)
    pauses: Pauses = attrs.field(init=False, repr=False, factory=Pauses)
    pulse: Pulse = attrs.field(init=False, repr=False)
    _buffer: MemoryBuffer | None = attrs.field(init=False, repr=False, default=None)
    _tracker_name: str | None = attrs.field(init=False, repr=False, default=None)

    def __attrs_post_init__(self) -> None:
        problems = self._problems()
        if problems:
            raise OptionsError(problems)

    def _problems(self) -> dict[str, str]:
        found = {"queue": queue_problem(self.queue)}
        if self.broker_url is not None:
            found["broker_url"] = url_problem(self.broker_url)
        elif self.visibility_timeout_s is not None:
            text = (
                "it belongs to `broker_url`; the application's app has its own, in"
                " `broker_transport_options`"
            )
            found["visibility_timeout_s"] = text
        return {option: text for option, text in found.items() if text}

    def bind(self, downstream: Downstream) -> None:
        """Take the routes below, and decide whether events wait in memory for the broker."""
        self.downstream = downstream
        self.worker_counts = WorkerCounts(downstream.routes)
        self.pulse = Pulse(downstream)
        registry.add(self)
        if _NOT_BEFORE_BROKER.isdisjoint(downstream.above):
            self._buffer = MemoryBuffer(
                downstream.path, self._publish, self.max_buffered_events, self.max_batch_events
            )

    def counts(self) -> Mapping[str, Counts]:
        """Return the counts of this process.

        The router has delivered an event when the broker has confirmed it. A worker counts the
        routes below, for the events that come to their end in it.
        """
        counts = self.worker_counts.counts()
        if self._buffer is not None:
            counts[self.path] = self._buffer.counts()
        return counts

    def open(self) -> None:
        """Start what moves events from memory to the broker.

        The broker itself is not asked for before it is needed.
        """
        if self._buffer is not None:
            self._buffer.open()

    def probe(self) -> None:
        """See that the broker can be reached, and that the workers take what is published.

        Raises:
            DeliveryError: If not, or if the application has no Celery app.
        """
        self.batch_queue().publisher.probe()

    def send(self, events: Sequence[Event]) -> None:
        """Take the events over: into memory, or, below a buffer or a worker, to the broker.

        Raises:
            PublishError: If the broker did not confirm a batch; some of the events may have reached
                it.
        """
        if self._buffer is not None:
            self._buffer.send(events)
            return
        refused = self._publish(events)
        self.worker_counts.published(len(events) - len(refused))
        if refused:
            raise Rejected(refused)

    def flush(self, timeout_s: float) -> bool:
        """Bring what waits in memory to the broker. Return whether nothing is left."""
        return self._buffer is None or self._buffer.flush(timeout_s)

    def close(self) -> None:
        """End the thread that publishes, and close the connections."""
        self.pulse.stop()
        if self._buffer is not None:
            self._buffer.close()
        with suppress(DeliveryError):  # an application without a Celery app has no connections
            publisher_for(self.app, self.publish_timeout_s).close()

    # Dead letters

    def dead_letters(self, selection: Selection = _ALL) -> list[DeadLetter]:
        """Return the dead letters that are meant, oldest first.

        Raises:
            PublishError: If the broker cannot be reached.
        """
        return self._graveyard().select(selection)

    def replay(self, selection: Selection = _ALL) -> int:
        """Send dead letters to the workers again, for the route where they died. Return how many.

        Raises:
            PublishError: If the broker did not confirm; those that it had not confirmed stay dead
                letters.
        """
        return self._graveyard().replay(selection)

    def purge(self, selection: Selection = _ALL) -> int:
        """Delete dead letters for good. Return how many.

        Raises:
            PublishError: If the broker cannot be reached.
        """
        return self._graveyard().purge(selection)

    def _graveyard(self) -> DeadLetters:
        return DeadLetters(
            self.batch_queue(), self._name_of_tracker(), self.path, self.max_unpacked_bytes
        )

    # Publishing

    @property
    def app(self) -> Celery:
        """The Celery app whose broker it is."""
        if self.broker_url is None:
            return application_app()
        return own_app(self.broker_url, self.visibility_timeout_s or _DEFAULT_VISIBILITY_S)

    @property
    def path(self) -> str:
        """Its path in the tree."""
        return self.downstream.path

    @property
    def max_delay_s(self) -> float:
        """Longest delay of one message; a longer pause takes several."""
        return broker_of(self.app).max_delay_s

    @property
    def backoff(self) -> Backoff:
        """How long to wait between attempts; not so long that Redis takes the batch for that of a
        killed worker.
        """
        longest = min(self.max_retry_s, self.max_delay_s)
        return Backoff(min_s=self.min_retry_s, max_s=longest)

    def batch_queue(self) -> BatchQueue:
        """Return its queue on the broker."""
        publisher = publisher_for(self.app, self.publish_timeout_s)
        return BatchQueue(publisher, self.queue, self.compression, self.spare_copies)

    def _publish(self, events: Sequence[Event]) -> dict[str, str]:
        """Publish events; return why some never can be, by id."""
        queue = self.batch_queue()
        fresh = Batch(tracker=self._name_of_tracker(), path=self.path, events=())
        refused: dict[str, str] = {}
        for part in self._parts(events, refused):
            queue.send_message(fresh.pack_encoded(part, self.compression))
        return refused

    def _parts(self, events: Sequence[Event], refused: dict[str, str]) -> Iterator[list[bytes]]:
        """Encode events, and cut them into batches that workers unpack and brokers take."""
        limit = min(_MAX_BATCH_BYTES, self.max_unpacked_bytes // 2)
        part: list[bytes] = []
        size = 0
        for event in events:
            encoded = codec.encode(event)
            if len(encoded) > self.max_unpacked_bytes - _BODY_OVERHEAD_BYTES:
                refused[event.id] = f"{len(encoded):,} bytes, more than `max_unpacked_bytes` allows"
                continue
            if part and (len(part) >= self.max_batch_events or size + len(encoded) > limit):
                yield part
                part, size = [], 0
            part.append(encoded)
            size += len(encoded)
        if part:
            yield part

    def _name_of_tracker(self) -> str:
        """The name under which the tracker of this tree is registered; a worker looks it up by
        that.
        """
        if self._tracker_name is None:
            names = [
                name
                for name, tracker in registered_trackers().items()
                if self in registry.owners_in(tracker)
            ]
            if not names:
                return DEFAULT_NAME
            self._tracker_name = names[0]
        return self._tracker_name
