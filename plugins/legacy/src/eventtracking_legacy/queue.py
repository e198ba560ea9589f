"""The queue that a site's Celery workers read already, so that they need no other one when the site
moves over.
"""

from __future__ import annotations

from typing import Any, Final

__all__ = ["celery_queue"]

_FORMER_TASK: Final = "eventtracking.tasks.send_event"


def celery_queue() -> str | None:
    """Return the queue that event-tracking's task went to, as the application's Celery app routes
    it.

    The tasks that are still in that queue can be delivered from now on.
    """
    try:
        from celery import current_app
    except ImportError:  # the config will say that async_celery is missing
        return None
    from eventtracking_legacy import task  # noqa: F401 - registers the task with every app of the process

    app: Any = current_app
    options = app.amqp.router.route({}, _FORMER_TASK)
    queue = options.get("queue") or app.conf.task_default_queue
    return str(getattr(queue, "name", queue))
