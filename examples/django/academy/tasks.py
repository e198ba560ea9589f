"""The site's own tasks."""

from celery import shared_task

from eventtracking import tracker


@shared_task
def send_welcome(course_id: str) -> None:
    """Welcome somebody to a course.

    Its event is in the context of the request that asked for it.
    """
    tracker.emit("welcome.sent", {"course_id": course_id})
