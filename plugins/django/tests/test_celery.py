"""Celery tasks run in the context of the code that sent them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextvars import copy_context
from typing import Any

import pytest
from celery import Celery
from celery.contrib.testing.worker import start_worker

from eventtracking import tracker
from eventtracking_django import celery as celery_context
from eventtracking_django.testing import capture_events


@pytest.fixture(scope="module")
def app() -> Iterator[Celery]:
    """A Celery app, and a worker on a thread, with a broker in memory."""
    found = Celery("tests", broker="memory://", backend="cache+memory://", set_as_current=False)
    celery_context.connect()
    celery_context.connect()

    @found.task(name="tests.emit")  # type: ignore[untyped-decorator]  # Celery has no types
    def emit(fails: bool = False) -> dict[str, Any]:
        tracker.emit("in.task")
        if fails:
            raise ZeroDivisionError
        return tracker.resolve_context()

    with start_worker(found, perform_ping_check=False, loglevel="ERROR", shutdown_timeout=30):
        yield found


def test_a_task_has_the_context_of_its_sender(app: Celery) -> None:
    """What a task emits is in the context of the code that sent it; the next task knows nothing of it."""
    task = app.tasks["tests.emit"]
    with capture_events() as events:
        with tracker.context({"user_id": 7}):
            first = task.delay()
        assert first.get(timeout=30) == {"user_id": 7}
        assert task.delay().get(timeout=30) == {}
    assert [event.context for event in events] == [{"user_id": 7}, {}]


def test_a_failing_task_leaves_the_context(app: Celery) -> None:
    """After a task that raised, the next one on the same worker has a context of its own."""
    task = app.tasks["tests.emit"]
    with capture_events(), tracker.context({"user_id": 7}), pytest.raises(ZeroDivisionError):
        task.delay(fails=True).get(timeout=30)
    with capture_events():
        assert task.delay().get(timeout=30) == {}


def test_a_thread_started_with_a_copy_of_the_context() -> None:
    """A thread that is started with `copy_context` has the context of its starter."""
    found: list[dict[str, Any]] = []
    with tracker.context({"user_id": 7}):
        thread = threading.Thread(target=copy_context().run, args=(lambda: found.append(tracker.resolve_context()),))
    thread.start()
    thread.join()
    assert found == [{"user_id": 7}]
