"""The worker of the benchmark of asynchronous emits: it emits a burst, says how long that took, and
ends what the burst has left behind.

    worker_async.py SYSTEM

`BENCH_BROKER` is the URL of a Redis, `BENCH_FOLDER` a folder of its own. The libraries are imported
by name, because each is in an environment of its own, and two of them have the same name. For each
number that comes in it emits so many events; it prints the seconds that the emits took, and then
the processor's seconds of the whole, delivery or publication included.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _events import CONTEXT, NAME, SMALL

__all__ = ["SYSTEMS"]

Emit = Callable[[], object]
Drain = Callable[[], object]
PATIENCE_S = 120


def _nothing() -> None:
    """The burst has left nothing behind."""


def ours(storage: str, celery: bool) -> tuple[Emit, Drain]:
    """A buffer before a null backend, or before the broker."""
    end = {"plugin": "null_sink"}
    workers = {
        "plugin": "async_celery",
        "broker_url": os.environ["BENCH_BROKER"],
        "queue": f"bench.{storage}",
        "backends": {"end": end},
    }
    node: dict[str, Any] = {
        "plugin": "buffer",
        "storage": storage,
        "backends": {"end": workers if celery else end},
    }
    if storage == "disk":
        node["path"] = str(Path(os.environ["BENCH_FOLDER"], f"buffer.{os.getpid()}"))
    if storage == "memory" and celery:
        node = workers  # it puts a buffer in memory before itself
    tracker = importlib.import_module("eventtracking").Tracker.from_config(
        {"backends": {"kept": node}}
    )
    tracker.enter_context("request", CONTEXT)
    emit = tracker.emit
    return lambda: emit(NAME, SMALL), lambda: tracker.flush(PATIENCE_S)


def opentelemetry() -> tuple[Emit, Drain]:
    """Its batch processor before an exporter that forgets everything."""
    sdk: Any = importlib.import_module("opentelemetry.sdk._logs")
    export: Any = importlib.import_module("opentelemetry.sdk._logs.export")
    null: Any = importlib.import_module("worker_opentelemetry").NullExporter()
    severity: Any = importlib.import_module("opentelemetry._logs").SeverityNumber.INFO
    provider = sdk.LoggerProvider()
    provider.add_log_record_processor(export.BatchLogRecordProcessor(null))
    emit = provider.get_logger("bench").emit

    def emit_one() -> None:
        emit(
            timestamp=time.time_ns(),
            severity_number=severity,
            event_name=NAME,
            body=SMALL,
            attributes=CONTEXT,
        )

    return emit_one, provider.force_flush


def predecessor() -> tuple[Emit, Drain]:
    """Its AsyncRoutingBackend, on the same Redis."""
    tracker = importlib.import_module("predecessor_celery").tracker
    tracker.enter_context("request", CONTEXT)
    return lambda: tracker.emit(NAME, SMALL), _nothing


SYSTEMS: dict[str, Callable[[], tuple[Emit, Drain]]] = {
    "memory": lambda: ours("memory", celery=False),
    "disk": lambda: ours("disk", celery=False),
    "memory, celery": lambda: ours("memory", celery=True),
    "disk, celery": lambda: ours("disk", celery=True),
    "opentelemetry": opentelemetry,
    "predecessor": predecessor,
}


def main() -> None:
    """Serve bursts."""
    logging.disable(logging.CRITICAL)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints must not look like an answer
    emit, drain = SYSTEMS[sys.argv[1]]()
    emit()
    drain()
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        wall_s, cpu_s = burst(emit, drain, int(line))
        print(wall_s, cpu_s, file=answers, flush=True)


def burst(emit: Emit, drain: Drain, count: int) -> tuple[float, float]:
    """Emit so many events; the seconds of the emits, and the processor's seconds of all of it."""
    cpu_started, started = time.process_time(), time.perf_counter()
    for _ in range(count):
        emit()
    ended = time.perf_counter()
    drain()
    return ended - started, time.process_time() - cpu_started


if __name__ == "__main__":
    main()
