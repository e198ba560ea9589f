"""Celery tasks run in the context of the code that sent them."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextvars import copy_context
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from celery.contrib.testing.worker import start_worker

from eventtracking import tracker
from eventtracking_django import celery as celery_context
from eventtracking_django.testing import capture_events

pytestmark = pytest.mark.needs("logger")


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

    level = logging.root.level
    with start_worker(found, perform_ping_check=False, loglevel="ERROR", shutdown_timeout=30):
        logging.root.setLevel(level)  # the worker has set it
        yield found


def test_a_task_has_the_context_of_its_sender(app: Celery) -> None:
    """What a task emits is in the context of the code that sent it; the next task knows nothing of
    it.
    """
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


LATE = """
import sys
import django
from django.conf import settings
settings.configure(INSTALLED_APPS=["eventtracking_django"], EVENT_TRACKING={"backends": {}}, MORE)
assert "celery" not in sys.modules
django.setup()
from celery import signals
from eventtracking import tracker
headers = {}
with tracker.context({"user_id": 7}):
    signals.before_task_publish.send(sender="task", headers=headers)
print(headers)
"""


def run(more: str, path: Path) -> tuple[str, str]:
    """Start a project that imports Celery after its apps are loaded; return what it prints."""
    code = LATE.replace("MORE", more)
    env = {**os.environ, "PYTHONPATH": str(path)}
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, env=env
    )
    return done.stdout, done.stderr


@pytest.mark.timeout(180)
@pytest.mark.process
def test_celery_may_be_imported_late(tmp_path: Path) -> None:
    """A project that imports Celery after all apps are loaded has the context in its tasks, unless
    it does not want it.
    """
    assert run("", tmp_path) == ("{'eventtracking_context': '{\"user_id\": 7}'}\n", "")
    assert run("EVENT_TRACKING_CELERY_CONTEXT=False", tmp_path) == ("{}\n", "")


@pytest.mark.process
def test_a_broken_celery_does_not_stop_the_start(tmp_path: Path) -> None:
    """Where Celery is installed and cannot be imported, the project starts, and the log says what
    is missing.
    """
    (tmp_path / "celery.py").write_text("raise RuntimeError\n", encoding="utf-8")
    _, told = run("", tmp_path)
    assert told.startswith("Celery tasks do not have the context of their sender: RuntimeError\n")


def test_a_thread_started_with_a_copy_of_the_context() -> None:
    """A thread that is started with `copy_context` has the context of its starter."""
    found: list[dict[str, Any]] = []
    with tracker.context({"user_id": 7}):
        thread = threading.Thread(
            target=copy_context().run, args=(lambda: found.append(tracker.resolve_context()),)
        )
    thread.start()
    thread.join()
    assert found == [{"user_id": 7}]
