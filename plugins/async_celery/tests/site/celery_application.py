"""An application with a Celery app of its own and two trackers, for its web process and its workers
alike.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from celery import Celery
from kombu import Exchange, Queue

import eventtracking
from eventtracking import Tracker
from eventtracking.tracker import register_tracker

settings = json.loads(Path(os.environ["EVENTTRACKING_CONFIG"]).read_text())

app = Celery("application", broker=settings["broker_url"])
app.conf.broker_transport_options = settings["transport_options"]
app.conf.update(settings.get("conf", {}))
if "topic_queues" in settings:
    app.conf.task_queues = [
        Queue(name, Exchange(f"x{name}", type="topic"), routing_key="events.#")
        for name in settings["topic_queues"]
    ]


@app.task(name="application.work")  # type: ignore[untyped-decorator]  # Celery has no types
def work(name: str) -> None:
    """A task of the application that emits, in a context."""
    with eventtracking.tracker.context({"task": name}):
        eventtracking.tracker.emit(name)


eventtracking.configure(settings["default"])
second = Tracker.from_config(settings["second"])
register_tracker(second, "second")
