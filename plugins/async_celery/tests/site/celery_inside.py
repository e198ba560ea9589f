"""A worker inside the test's own process: kombu's memory transport, and Celery's own task code."""

from __future__ import annotations

import base64
import itertools
import json
import uuid
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, ClassVar

import attrs
from kombu import Queue

from eventtracking import Event, Tracker
from eventtracking.tracker import register_tracker
from eventtracking_async_celery.publisher import TASK_NAME
from eventtracking_async_celery.registry import owners_in
from eventtracking_async_celery.router import AsyncCeleryRouter

__all__ = ["InsideWorker", "Script"]

_numbers = itertools.count()


@attrs.define(eq=False)
class Script:
    """A backend that does as the test says."""

    key: str = ""
    calls: ClassVar[dict[str, list[list[str]]]] = {}
    """The names of the events of each call, by key."""
    answers: ClassVar[dict[str, Callable[[Sequence[Event]], None]]] = {}

    def send(self, events: Sequence[Event]) -> None:
        self.calls.setdefault(self.key, []).append([event.name for event in events])
        if self.key in self.answers:
            self.answers[self.key](events)


class Ticking(Script):
    """The same, with a tick."""

    ticks: ClassVar[list[str]] = []

    def tick(self) -> None:
        self.ticks.append(self.key)


@attrs.define(eq=False)
class InsideWorker:
    """A tracker with one router, whose messages the test delivers one by one."""

    backends: dict[str, Any]
    options: dict[str, Any] = attrs.field(factory=dict)
    path: str = "w"
    queue: str = attrs.field(factory=lambda: f"inside{next(_numbers)}")
    tracker: Tracker = attrs.field(init=False)
    router: AsyncCeleryRouter = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        Script.calls.clear()
        Script.answers.clear()
        node = {"plugin": "async_celery", "broker_url": "memory://", "queue": self.queue}
        self.tracker = Tracker.from_config(
            {"backends": {self.path: {**node, **self.options, "backends": self.backends}}}
        )
        register_tracker(self.tracker)
        (router,) = owners_in(self.tracker)
        assert isinstance(router, AsyncCeleryRouter)
        self.router = router

    def emit(self, *names: str) -> None:
        for name in names:
            self.tracker.emit(name)
        assert self.tracker.flush(10)

    def taken(self, kind: str = "") -> list[Any]:
        """Take every message off the queue: the whole task, or the dead letter."""
        found = []
        with self.router.batch_queue().publisher.channel() as channel:
            queue = Queue(f"{self.queue}{kind}", routing_key=f"{self.queue}{kind}")(channel)
            queue.declare()
            while (message := queue.get(no_ack=True, accept=["json"])) is not None:
                found.append(message)
        return found

    def batches(self) -> list[tuple[dict[str, Any], float]]:
        """Take the batches off the queue, each with its delay in seconds."""
        found = []
        for message in self.taken():
            eta = message.headers.get("eta")
            now = datetime.now(timezone.utc)
            delay_s = (datetime.fromisoformat(eta) - now).total_seconds() if eta else 0.0
            found.append((message.payload[1]["batch"], delay_s))
        return found

    def work(self, batch: Any, **more: Any) -> None:
        """Deliver a message as a worker does."""
        task = self.router.app.tasks[TASK_NAME]
        result = task.apply(
            kwargs={"batch": batch, "queue": self.queue, **more}, task_id=str(uuid.uuid4())
        )
        assert result.state == "SUCCESS", result.result

    def work_all(self) -> list[tuple[dict[str, Any], float]]:
        """Deliver what is on the queue once; return what is there then."""
        for batch, _ in self.batches():
            self.work(batch)
        return self.batches()

    def assert_law(self) -> None:
        for path, counts in self.tracker.stats().items():
            assert counts.balanced, (path, counts)

    def close(self) -> None:
        self.assert_law()
        self.tracker.close(1.0)


def batch_in(file: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read the task of a raw message, as Redis held it; return its kwargs and headers."""
    raw = json.loads(file.read_text())
    body = json.loads(base64.b64decode(raw["body"]))
    return (body[1] if isinstance(body, list) else body), raw["headers"]
