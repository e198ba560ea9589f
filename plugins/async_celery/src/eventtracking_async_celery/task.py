"""The task that workers run: find the routes that a batch is for, and deliver it there.

Importing this module registers the task with every Celery app of the process, those to come
included.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any, Final

from celery import shared_task
from celery.exceptions import Reject

from eventtracking.counts import Outcome
from eventtracking.errors import EventTrackingError
from eventtracking.protocols import Downstream
from eventtracking.tracker import get_tracker
from eventtracking_async_celery.apps import visibility_timeout_of
from eventtracking_async_celery.backoff import Backoff
from eventtracking_async_celery.batch import Batch, BatchFormatError, is_readable, tried
from eventtracking_async_celery.delivery import Delivery
from eventtracking_async_celery.post import Post
from eventtracking_async_celery.publisher import TASK_NAME, PublishError, publisher_for
from eventtracking_async_celery.registry import Owner, owner_of

__all__ = ["deliver"]

_log = logging.getLogger("eventtracking.async_celery")

_KEEP_FOR_S: Final = 30.0
"""How long a batch that cannot be delivered here waits before a worker, perhaps one with another
config, looks at it again.
"""
_REJECT_AFTER_S: Final = 1.0
"""So that a broker that gives a rejected batch back at once does not keep the worker spinning."""
_SAY_AGAIN_S: Final = 60.0

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
    post = Post(publisher_for(task.app), _queue_of(kwargs, info))
    try:
        lost = post.publisher.begin(post.queue, task.request.id, bool(info.get("redelivered")))
        _take(message, post, lost)
        post.publisher.finish(post.queue, task.request.id)
    except Exception as error:  # noqa: BLE001 - whatever it is, the batch must not be lost
        if not isinstance(error, PublishError):
            _log.exception("a batch could not be delivered, and goes back to the broker")
        post.publisher.give_back(post.queue, task.request.id)
        _give_back(error)


def _queue_of(kwargs: Mapping[str, Any], info: Mapping[str, Any]) -> str:
    """The queue that a task came from, as it says itself: its routing key may be another name, or
    none at all.
    """
    return str(kwargs.get("queue") or info.get("routing_key"))


def _take(message: Any, post: Post, lost: int) -> None:
    """Do with a message what can be done here.

    When this returns, the broker has confirmed what becomes of the rest.

    Raises:
        PublishError: If it has not.
    """
    if lost and is_readable(
        message
    ):  # before anything in it is looked at, because the next attempt may be the last
        _try_later(tried(message, lost=lost), post)
        return
    try:
        _deliver(message, post)
    except BatchFormatError as error:
        _keep(message, post, error)
    except CannotDeliverHereError as error:
        # Nobody tries it while it is kept, so that a loss is a worker's stop; there may be many
        # until the right config is back.
        _keep({**message, "lost": 0}, post, error)
    except PublishError:
        raise
    except Exception:  # noqa: BLE001 - the batch must neither be lost nor come back at once, for ever
        _log.exception(
            "a batch could not be delivered, for a reason nobody thought of, and is tried again"
            " later"
        )
        _try_later(tried(message, attempts=1), post)


def _keep(message: Mapping[str, Any], post: Post, error: EventTrackingError) -> None:
    _say(post.queue, str(error))
    post.send_again(message, _keep_for_s(post))


def _try_later(message: Mapping[str, Any], post: Post) -> None:
    tries = message["attempt"] + message["lost"]
    delay_s = _backoff(message, post).delay_s(tries)
    if message["lost"]:
        _log.info(
            "a worker was gone before a batch came to an end; it is tried again in %.1f s", delay_s
        )
    post.send_again(message, delay_s)


def _backoff(message: Mapping[str, Any], post: Post) -> Backoff:
    """That of the router, if it can be told."""
    try:
        _, owner = _find(message["tracker"], message["path"])
    except CannotDeliverHereError:
        return Backoff(min_s=1.0, max_s=_keep_for_s(post))
    return owner.backoff


def _keep_for_s(post: Post) -> float:
    return min(_KEEP_FOR_S, visibility_timeout_of(post.publisher.app) / 2)


def _deliver(message: Any, post: Post) -> None:
    batch = Batch.unpack(message)
    downstream, owner = _find(batch.tracker, batch.path)
    _set_missing_apart(batch, downstream, owner, post)
    Delivery(downstream, owner, batch).run()


def _find(tracker: str, path: str) -> tuple[Downstream, Owner]:
    try:
        downstream = get_tracker(tracker).downstream(path)
    except KeyError as error:
        raise CannotDeliverHereError(str(error.args[0])) from None
    owner = owner_of(downstream)
    if owner is None:
        raise CannotDeliverHereError(
            f"the router at {path!r} is not an async_celery router in this worker's config"
        )
    return downstream, owner


def _set_missing_apart(batch: Batch, downstream: Downstream, owner: Owner, post: Post) -> None:
    """Keep what waits for leaves that this worker's config lacks in messages of their own, so that
    the rest can go its way.

    Raises:
        CannotDeliverHereError: If all of the batch is for such a leaf.
    """
    missing = batch.pending_leaves() - set(downstream.leaves)
    if not missing:
        return
    known = ", ".join(downstream.leaves)
    reason = f"no route at {', '.join(sorted(missing))}; below {batch.path!r} are {known}"
    if batch.leaf in missing:
        raise CannotDeliverHereError(reason)
    _say(post.queue, reason)
    for leaf in sorted(missing):
        waiting = [
            event
            for event in batch.events
            if batch.progress.get(event.id, {}).get(leaf) is Outcome.PENDING
        ]
        owner.post().send(batch.only_at(leaf, waiting), _keep_for_s(post))


def _say(queue: str, reason: str) -> None:
    now = time.monotonic()
    if now - _said_at.get(reason, -_SAY_AGAIN_S) < _SAY_AGAIN_S:
        return
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
