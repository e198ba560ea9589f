"""The task that workers run: find the routes that a batch is for, and deliver it there.

Importing this module registers the task with every Celery app of the process, those to come
included.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any, Final

from celery import Celery, shared_task
from celery.exceptions import Reject

from eventtracking.counts import Outcome
from eventtracking.errors import EventTrackingError
from eventtracking.protocols import Downstream
from eventtracking.tracker import get_tracker
from eventtracking_async_celery.backoff import Backoff
from eventtracking_async_celery.batch import Batch
from eventtracking_async_celery.batch_queue import BatchQueue
from eventtracking_async_celery.delivery import MIN_LOSSES, Delivery
from eventtracking_async_celery.envelope import BatchFormatError, Envelope
from eventtracking_async_celery.publisher import TASK_NAME, PublishError, publisher_for
from eventtracking_async_celery.registry import Owner, owner_of, owners_of

__all__ = ["deliver"]

_log = logging.getLogger("eventtracking.async_celery")

_KEEP_FOR_S: Final = 30.0
"""How long a batch that cannot be delivered here waits before a worker, perhaps one with another
config, looks at it again.
"""
_REJECT_AFTER_S: Final = 1.0
"""So that a broker that gives a rejected batch back at once does not keep the worker spinning."""
_SAY_AGAIN_S: Final = 60.0
_MAX_SHOWN: Final = 500
_MAX_SAID: Final = 1_000
_LOSSES_IN_BURIAL: Final = 2
"""Workers that may die while they bury the events of a batch; then it is buried unopened."""

_said_at: dict[str, float] = {}


class CannotDeliverHereError(EventTrackingError):
    """Raised inside this module: this worker's config has no place for the batch, and another one's
    may.
    """


@shared_task(  # type: ignore[untyped-decorator]  # Celery has no types
    name=TASK_NAME,
    bind=True,
    acks_late=True,
    reject_on_worker_lost=True,
    acks_on_failure_or_timeout=False,  # what is neither delivered nor sent on stays with the broker
    ignore_result=True,
    store_errors_even_if_ignored=False,
    serializer="json",
    max_retries=None,
)
def deliver(task: Any, *args: Any, **kwargs: Any) -> None:
    """Deliver a batch. Its arguments are open, because a later version may send others.

    Raises:
        Reject: With requeue, if nothing else keeps the batch: the broker gives it to a worker
            again.
    """
    message = kwargs.get("batch", args[0] if args else kwargs)
    info = task.request.delivery_info or {}
    queue = BatchQueue(publisher_for(task.app), _queue_of(task.app, kwargs, info))
    publisher = queue.publisher
    try:
        lost = publisher.begin(queue.name, task.request.id, bool(info.get("redelivered")))
        _take(message, queue, lost)
        publisher.finish(queue.name, task.request.id)
    except Exception as error:  # noqa: BLE001 - whatever it is, the batch must not be lost
        if not isinstance(error, PublishError):
            _log.exception("a batch could not be delivered, and goes back to the broker")
        publisher.give_back(queue.name, task.request.id)
        _give_back(error)


def _queue_of(app: Celery, kwargs: Mapping[str, Any], info: Mapping[str, Any]) -> str:
    """Return the queue that a task came from.

    The task says it itself, for its routing key may be another name, or none at all. It is believed
    if this worker reads the queue: a forged one would make queues anywhere.
    """
    known = dict.fromkeys((*app.amqp.queues.consume_from, *(o.queue for o in owners_of(app))))
    for said in (kwargs.get("queue"), info.get("routing_key")):
        if isinstance(said, str) and said in known:
            return said
    own = [owner.queue for owner in owners_of(app)]
    return own[0] if own else next(iter(known))


def _take(message: Any, queue: BatchQueue, lost: int) -> None:
    """Do with a message what can be done here.

    When this returns, the broker has confirmed what becomes of the rest.

    Raises:
        PublishError: If it has not.
    """
    try:
        envelope = Envelope.read(message)
    except BatchFormatError as error:
        _set_aside(message, queue, error)
        return
    if lost:  # counted before the body is opened, because the next attempt may be the last
        _try_later(envelope.tried(lost=lost), queue)
        return
    try:
        _open(envelope, queue)
    except BatchFormatError as error:
        _set_aside(message, queue, error)
    except CannotDeliverHereError as error:
        # Nobody tries it while it is kept, so that a loss is a worker's stop; there may be many
        # until the right config is back.
        _keep({**message, "lost": 0}, queue, error)
    except PublishError:
        raise
    except Exception:  # noqa: BLE001 - the batch must neither be lost nor come back at once, for ever
        _log.exception("a batch could not be delivered: unforeseen error; will retry later")
        _try_later(envelope.tried(attempts=1), queue)


def _set_aside(message: Any, queue: BatchQueue, error: BatchFormatError) -> None:
    """Keep what a later version may read on the queue; bury, as it is, what none can."""
    if not error.damaged:
        _keep(message, queue, error)
        return
    queue.bury_as_it_is(message, str(error))
    _log.error("queue %r: a message became a dead letter as it is: %s", queue.name, error)


def _keep(message: Any, queue: BatchQueue, error: EventTrackingError) -> None:
    _say(queue.name, str(error))
    queue.send_message(message, _keep_for_s(queue))


def _try_later(envelope: Envelope, queue: BatchQueue) -> None:
    delay_s = _backoff(envelope, queue).delay_s(envelope.tries)
    if envelope.lost:
        _log.info(
            "a worker was gone before a batch came to an end; it is tried again in %.1f s", delay_s
        )
    queue.send_message(envelope.message(), delay_s)


def _backoff(envelope: Envelope, queue: BatchQueue) -> Backoff:
    """That of the router, if it can be told."""
    try:
        _, owner = _find(envelope.tracker, envelope.path)
    except CannotDeliverHereError:
        return Backoff(min_s=1.0, max_s=_keep_for_s(queue))
    return owner.backoff


def _keep_for_s(queue: BatchQueue) -> float:
    return min(_KEEP_FOR_S, queue.publisher.broker.max_delay_s)


def _open(envelope: Envelope, queue: BatchQueue) -> None:
    downstream, owner = _find(envelope.tracker, envelope.path)
    if envelope.lost >= max(owner.max_attempts, MIN_LOSSES) + _LOSSES_IN_BURIAL:
        raise BatchFormatError(
            f"workers died {envelope.lost} times, even while they buried it", damaged=True
        )
    batch = Batch.open(envelope, owner.max_unpacked_bytes)
    _set_missing_apart(batch, downstream, owner, queue)
    owner.pulse.start()
    Delivery(downstream, owner, batch).run()


def _find(tracker: str, path: str) -> tuple[Downstream, Owner]:
    try:
        downstream = get_tracker(tracker).downstream(path)
    except KeyError as error:
        raise CannotDeliverHereError(str(error.args[0])[:_MAX_SHOWN]) from None
    owner = owner_of(downstream)
    if owner is None:
        raise CannotDeliverHereError(
            f"the router at {path!r} is not an async_celery router in this worker's config"
        )
    return downstream, owner


def _set_missing_apart(
    batch: Batch, downstream: Downstream, owner: Owner, queue: BatchQueue
) -> None:
    """Keep what waits for leaves that this worker's config lacks in messages of their own, so that
    the rest can go its way.

    Raises:
        CannotDeliverHereError: If all of the batch is for such a leaf.
    """
    missing = batch.pending_leaves() - set(downstream.leaves)
    if not missing:
        return
    known = ", ".join(map(repr, downstream.leaves))
    lacking = ", ".join(map(repr, sorted(missing)))
    reason = f"no route at {lacking}; below {batch.path!r} are {known}"
    if batch.leaf in missing:
        raise CannotDeliverHereError(reason)
    _say(queue.name, reason)
    for leaf in sorted(missing):
        waiting = [
            event
            for event in batch.events
            if batch.progress.get(event.id, {}).get(leaf) is Outcome.PENDING
        ]
        owner.batch_queue().send(batch.only_at(leaf, waiting), _keep_for_s(queue))


def _say(queue: str, reason: str) -> None:
    now = time.monotonic()
    if now - _said_at.get(reason, -_SAY_AGAIN_S) < _SAY_AGAIN_S:
        return
    if len(_said_at) >= _MAX_SAID:  # forged messages may give each another reason
        _said_at.clear()
    _said_at[reason] = now
    _log.error(
        "a batch of the queue %r, or a part of it, cannot be delivered by this worker, and stays on"
        " the broker: %s. Give the workers the config of the processes that emit, and this version"
        " of the plugin",
        queue,
        reason,
    )


def _give_back(error: Exception) -> None:
    time.sleep(_REJECT_AFTER_S)
    raise Reject(
        str(error) if isinstance(error, EventTrackingError) else type(error).__name__, requeue=True
    )
