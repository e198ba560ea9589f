"""The predecessor's Celery task, for the events that were on their way to a worker when a site
moved over.

Nothing here sends such tasks. A worker that did not know the name would throw them away.
"""

from __future__ import annotations

from typing import Any, Final

from celery import shared_task

from eventtracking import Event, Outcome, Rejected
from eventtracking.protocols import Downstream, Failures
from eventtracking.tracker import get_tracker
from eventtracking_legacy.shape import from_legacy

__all__ = ["send_event"]

_MAX_RETRIES: Final = 10
_RETRY_AFTER_S: Final = 30


@shared_task(  # type: ignore[untyped-decorator]  # Celery has no types
    name="eventtracking.tasks.send_event",
    bind=True,
    acks_late=True,
    ignore_result=True,
    max_retries=_MAX_RETRIES,
    default_retry_delay=_RETRY_AFTER_S,
)
def send_event(task: Any, backend_name: str, processed_event: Any) -> None:
    """Deliver one event below the router of that name.

    The event's id is that of the task, so that a retry stores nothing twice.

    Raises:
        Retry: If a destination failed, so that Celery tries the event again there and everywhere,
            ten times.
        KeyError: After the last attempt, if there is no such router.
    """
    try:
        downstream = get_tracker().downstream(backend_name)
    except KeyError as error:
        raise task.retry(exc=error) from error
    event = from_legacy(Event(name="unknown", id=task.request.id), processed_event)
    failure = _deliver(downstream, event)
    if failure is not None:
        raise task.retry(exc=failure)


def _deliver(downstream: Downstream, event: Event) -> Exception | None:
    """Deliver, and count failures; return an error that may pass."""
    answer = Failures()
    try:
        downstream.deliver([event], first=True, into=answer)
    finally:
        _count(downstream, event, answer)
    passing = [
        error
        for errors in answer.values()
        for error in errors.values()
        if not isinstance(error, Rejected)
    ]
    return passing[-1] if passing else None


def _count(downstream: Downstream, event: Event, answer: Failures) -> None:
    """Add the outcome to the counts of the router, which owns those of the routes below it."""
    router = get_tracker()._tree.routes[downstream.path]
    counts: Any = getattr(getattr(router, "backend", None), "worker_counts", None)
    if counts is None:
        return
    standing = answer.standing(event.id)
    lost = [path for path, outcome in standing.items() if outcome is Outcome.PENDING]
    counts.ended({}, {**standing, **dict.fromkeys(lost, Outcome.FAILED)})
    counts.remark(answer.reasons)
    for leaf, errors in answer.items():
        for error in errors.values():
            counts.note(leaf, Outcome.FAILED, type(error).__name__, 1)
