"""The task that workers run: find the routes that a batch is for, and deliver it there.

Importing this module registers the task with every Celery app of the process, those to come included.
"""

from __future__ import annotations

import logging
import time
from typing import Any, Final

from celery import shared_task
from celery.exceptions import Reject

from eventtracking.errors import EventTrackingError
from eventtracking.protocols import Downstream
from eventtracking.tracker import get_tracker
from eventtracking_async_celery.apps import visibility_timeout_of
from eventtracking_async_celery.batch import Batch, BatchFormatError
from eventtracking_async_celery.delivery import Delivery
from eventtracking_async_celery.post import Post
from eventtracking_async_celery.publisher import TASK_NAME, PublishError, publisher_for
from eventtracking_async_celery.registry import Owner, owner_of

__all__ = ["deliver"]

_log = logging.getLogger("eventtracking.async_celery")

_KEEP_FOR_S: Final = 30.0
"""How long a batch that cannot be delivered here waits before a worker, perhaps one with another config, looks at it again."""
_REJECT_AFTER_S: Final = 1.0
"""So that a broker that gives a rejected batch back at once does not keep the worker spinning."""
_SAY_AGAIN_S: Final = 60.0

_said_at: dict[str, float] = {}


class CannotDeliverHereError(EventTrackingError):
    """Raised inside this module: this worker's config has no place for the batch, and another one's may."""


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
        Reject: With requeue, if nothing else keeps the batch: the broker gives it to a worker again.
    """
    message = kwargs.get("batch", args[0] if args else kwargs)
    post = _post_of(task)
    try:
        post.publisher.begin(post.queue, task.request.id)
        _deliver_or_keep(message, post)
        post.publisher.finish(post.queue, task.request.id)
    except PublishError as error:
        _give_back(error)
    except Exception as error:  # noqa: BLE001 - whatever it is, the batch must not be lost
        _log.exception("a batch could not be delivered, and goes back to the broker")
        _give_back(error)


def _post_of(task: Any) -> Post:
    """The way back to the queue that a task came from."""
    queue = str(task.request.delivery_info.get("routing_key"))
    return Post(publisher_for(task.app), queue)


def _deliver_or_keep(message: Any, post: Post) -> None:
    try:
        _deliver(message)
    except (BatchFormatError, CannotDeliverHereError) as error:
        _say(post.queue, str(error))
        post.send_again(message, min(_KEEP_FOR_S, visibility_timeout_of(post.publisher.app) / 2))


def _deliver(message: Any) -> None:
    batch = Batch.unpack(message)
    downstream, owner = _find(batch)
    Delivery(downstream, owner, batch).run()


def _find(batch: Batch) -> tuple[Downstream, Owner]:
    try:
        downstream = get_tracker(batch.tracker).downstream(batch.path)
    except KeyError as error:
        raise CannotDeliverHereError(str(error.args[0])) from None
    owner = owner_of(downstream)
    if owner is None:
        raise CannotDeliverHereError(
            f"the router at {batch.path!r} is not an async_celery router in this worker's config"
        )
    missing = batch.pending_leaves() - set(downstream.leaves)
    if missing:
        known = ", ".join(downstream.leaves)
        raise CannotDeliverHereError(f"no route at {', '.join(sorted(missing))}; below {batch.path!r} are {known}")
    return downstream, owner


def _say(queue: str, reason: str) -> None:
    now = time.monotonic()
    if now - _said_at.get(reason, -_SAY_AGAIN_S) < _SAY_AGAIN_S:
        return
    _said_at[reason] = now
    _log.error(
        "a batch of the queue %r cannot be delivered by this worker, and stays on the broker: %s. "
        "Give the workers the config of the processes that emit, and this version of the plugin",
        queue,
        reason,
    )


def _give_back(error: Exception) -> None:
    time.sleep(_REJECT_AFTER_S)
    raise Reject(str(error) if isinstance(error, EventTrackingError) else type(error).__name__, requeue=True)
