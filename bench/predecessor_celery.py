"""The Celery application of event-tracking 4.0.2: its tracker with an AsyncRoutingBackend, for the
process that emits and for the worker.
"""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any

__all__ = ["app", "tracker"]

importlib.import_module("django.conf").settings.configure()
celery: Any = importlib.import_module("celery")
app = celery.Celery("predecessor", broker=os.environ["BENCH_BROKER"])
app.conf.task_default_queue = "bench.predecessor"
app.conf.task_ignore_result = True
app.conf.broker_connection_retry_on_startup = True
app.set_default()
importlib.import_module("eventtracking.tasks")
trackers: Any = importlib.import_module("eventtracking.tracker")
Routing: Any = importlib.import_module("eventtracking.backends.async_routing").AsyncRoutingBackend


class FileBackend:
    """Write a byte for each event, as `file_sink` does."""

    def send(self, _event: dict[str, Any]) -> None:
        with Path(os.environ["BENCH_ARRIVALS"]).open("ab") as file:
            file.write(b".")


tracker = trackers.Tracker(
    {"workers": Routing(backends={"end": FileBackend()}, backend_name="workers")}
)
trackers.register_tracker(tracker)
