"""Asynchronous emits: what they cost the caller, and how many events a second get through a broker
and one worker.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import redis
from _environments import OURS, PEERS, python_of
from _table import Row, Unavailable, main

from eventtracking_testkit.services import RedisServer, ServiceUnavailableError

PREDECESSOR = "predecessor-redis"
"""The environment of the predecessor, with a driver for Redis."""
HERE = Path(__file__).resolve().parent
THE_PREDECESSOR = "event-tracking 4.0.2, AsyncRoutingBackend"
OPENTELEMETRY = "OpenTelemetry logs, batch"
LABELS = {
    "memory": "eventtracking, memory buffer",
    "disk": "eventtracking, disk buffer",
    "memory, celery": "eventtracking, async_celery",
    "disk, celery": "eventtracking, disk buffer, async_celery",
    "opentelemetry": OPENTELEMETRY,
    "predecessor": THE_PREDECESSOR,
}
ENVIRONMENTS = {"opentelemetry": PEERS, "predecessor": PREDECESSOR}
BURST = 1_500
"""Fewer than what OpenTelemetry's queue holds, so that nobody drops anything."""
BURST_PREDECESSOR = 100
ROUNDS, ROUNDS_QUICK = 25, 6
PATIENCE_S = 180


def measure(quick: bool) -> Iterator[Row]:
    """Measure the caller's cost in turns, then each way through the broker."""
    try:
        with RedisServer() as server, tempfile.TemporaryDirectory(prefix="bench-async-") as name:
            yield from caller(server.uri, Path(name), ROUNDS_QUICK if quick else ROUNDS)
            yield from throughput(server.uri, Path(name), quick)
    except ServiceUnavailableError as error:
        raise Unavailable(f"needs redis-server; `make services` fetches it ({error})") from error


def environ(broker: str, folder: Path, **variables: str) -> dict[str, str]:
    paths = os.pathsep.join([str(HERE), str(HERE / "sinks")])
    return {
        **os.environ,
        "PYTHONPATH": paths,
        "BENCH_BROKER": broker,
        "BENCH_FOLDER": str(folder),
        **variables,
    }


# The caller's cost


class Emitter:
    """A worker_async.py."""

    def __init__(self, process: subprocess.Popen[str], burst: int) -> None:
        self._process = process
        self._burst = burst
        self.walls: list[float] = []
        self.cpus: list[float] = []

    def answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        if not line:
            raise RuntimeError(f"{self._process.args!r} ended with status {self._process.wait()}")
        return line

    def turn(self) -> None:
        """Emit a burst, and wait until it is over."""
        assert self._process.stdin is not None
        print(self._burst, file=self._process.stdin, flush=True)
        wall_s, cpu_s = map(float, self.answer().split())
        self.walls.append(wall_s / self._burst)
        self.cpus.append(cpu_s / self._burst)


@contextmanager
def emitting(system: str, variables: dict[str, str]) -> Iterator[Emitter]:
    command: list[str | Path] = [
        python_of(ENVIRONMENTS.get(system, OURS)),
        HERE / "worker_async.py",
        system,
    ]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=variables) as process:
        try:
            yield Emitter(process, BURST_PREDECESSOR if system == "predecessor" else BURST)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            with suppress(subprocess.TimeoutExpired):
                process.wait(20)
            process.kill()


def caller(broker: str, folder: Path, rounds: int) -> Iterator[Row]:
    """Let all take turns, and compare the medians."""
    variables = environ(broker, folder, BENCH_ARRIVALS=os.devnull)
    with ExitStack() as stack:
        emitters = {system: stack.enter_context(emitting(system, variables)) for system in LABELS}
        for emitter in emitters.values():
            assert emitter.answer() == "ready"
        for _ in range(rounds + 1):
            for emitter in emitters.values():
                emitter.turn()
    check_published(broker, "bench.predecessor", (rounds + 1) * BURST_PREDECESSOR)
    wall = {
        system: statistics.median(emitter.walls[1:]) * 1e6 for system, emitter in emitters.items()
    }
    cpu = {
        system: statistics.median(emitter.cpus[1:]) * 1e6 for system, emitter in emitters.items()
    }
    yield from cost_rows(wall)
    title = "processor time per event of the whole process, delivered to a null backend"
    for system in ("memory", "disk", "opentelemetry"):
        yield Row(title, LABELS[system], cpu[system], "µs").compared(
            cpu[system] / cpu["opentelemetry"]
        )


def check_published(broker: str, queue: str, count: int) -> None:
    """Make sure that the predecessor has published, because it says nothing when it cannot; and
    empty its queue.
    """
    with redis.Redis.from_url(broker) as client:
        found = client.llen(queue)
        client.delete(queue)
    if found < count:
        raise RuntimeError(f"the predecessor has published {found} of {count} events")


def cost_rows(wall: dict[str, float]) -> Iterator[Row]:
    """The rows of the caller's cost, each with its target."""
    title, note = "an asynchronous emit of 1 KB, on the same Redis", "the predecessor's over ours"
    yield Row(title, THE_PREDECESSOR, wall["predecessor"], "µs")
    for system in ("memory, celery", "disk, celery"):
        row = Row(title, LABELS[system], wall[system], "µs", note=note)
        yield row.judged(wall["predecessor"] / wall[system], at_least=50)
    title, note = "an emit of 1 KB into a queue before a null backend", "ours over OpenTelemetry's"
    yield Row(title, OPENTELEMETRY, wall["opentelemetry"], "µs")
    for system, limit in (("memory", 1.0), ("disk", 1.5)):
        row = Row(title, LABELS[system], wall[system], "µs", note=note)
        yield row.judged(wall[system] / wall["opentelemetry"], at_most=limit)


# Through the broker


def throughput(broker: str, folder: Path, quick: bool) -> Iterator[Row]:
    """Emit at full speed beside one running worker process, and wait for the last event."""
    scale = 1 if quick else 4
    title = "events a second through Redis and one worker process"
    theirs = predecessor_per_s(broker, folder, 500 * scale)
    single = ours_per_s(broker, folder, 500 * scale, 1)
    batches = ours_per_s(broker, folder, 15_000 * scale, 500)
    yield Row(title, "event-tracking 4.0.2, a task per event", theirs, "/s")
    yield Row(title, "eventtracking, a task per event", single, "/s").compared(single / theirs)
    row = Row(
        title, "eventtracking, a task per batch", batches, "/s", note="over the predecessor's"
    )
    yield row.judged(batches / theirs, at_least=10)


def predecessor_per_s(broker: str, folder: Path, count: int) -> float:
    arrivals = folder / "arrivals.predecessor"
    variables = environ(broker, folder, BENCH_ARRIVALS=str(arrivals))
    python = python_of(PREDECESSOR)
    code = (
        f"from predecessor_celery import tracker; from _events import *\nfor _ in range({count}):"
        " tracker.emit(NAME, SMALL)"
    )
    with working(python, "predecessor_celery", variables):
        return per_second(python, code, variables, arrivals, count)


def ours_per_s(broker: str, folder: Path, count: int, batch: int) -> float:
    arrivals, config = folder / f"arrivals.{batch}", folder / f"config.{batch}.json"
    sink = {"plugin": "file_sink", "path": str(arrivals)}
    node: dict[str, Any] = {
        "plugin": "async_celery",
        "broker_url": broker,
        "queue": f"bench.{batch}",
        "backends": {"end": sink},
    }
    config.write_text(
        json.dumps({"backends": {"workers": {**node, "max_batch_events": batch}}}), encoding="utf-8"
    )
    variables = environ(broker, folder, EVENTTRACKING_CONFIG=str(config))
    code = (
        "import eventtracking as e; from _events import *; tracker ="
        f" e.configure({str(config)!r})\nfor _ in range({count}): tracker.emit(NAME,"
        f" SMALL)\ntracker.flush({PATIENCE_S})"
    )
    with working(python_of(OURS), "eventtracking_async_celery.worker", variables):
        return per_second(python_of(OURS), code, variables, arrivals, count)


@contextmanager
def working(python: Path, application: str, variables: dict[str, str]) -> Iterator[None]:
    """Run a Celery worker with one process until the end of the block, warm."""
    quiet = ("--without-gossip", "--without-mingle", "--without-heartbeat", "--concurrency=1")
    with tempfile.TemporaryFile("w+b") as log:
        command: list[str | Path] = [
            python,
            "-m",
            "celery",
            "-A",
            application,
            "worker",
            "-l",
            "INFO",
            *quiet,
        ]
        with subprocess.Popen(command, env=variables, stdout=log, stderr=log, cwd=HERE) as process:
            try:
                deadline = time.monotonic() + PATIENCE_S
                while b" ready." not in said(log):
                    if process.poll() is not None or time.monotonic() > deadline:
                        raise RuntimeError(
                            f"the worker does not start: {said(log).decode(errors='replace')}"
                        )
                    time.sleep(0.05)
                yield
            finally:
                process.terminate()
                with suppress(subprocess.TimeoutExpired):
                    process.wait(20)
                process.kill()


def said(log: Any) -> bytes:
    log.seek(0)
    return bytes(log.read())


def per_second(
    python: Path, code: str, variables: dict[str, str], arrivals: Path, count: int
) -> float:
    """Events a second from the first that has arrived, or its batch, to the last."""
    with subprocess.Popen(
        [python, "-c", code], env=variables, cwd=HERE, stdout=sys.stderr
    ) as emitter:
        first_at, first = 0.0, 0
        deadline = time.monotonic() + PATIENCE_S
        while (arrived := size_of(arrivals)) < count:
            if arrived and not first:
                first_at, first = time.perf_counter(), arrived
            if time.monotonic() > deadline or emitter.poll() not in (None, 0):
                raise RuntimeError(f"{arrived} of {count} events arrived")
            time.sleep(0.001)
        return (count - first) / (time.perf_counter() - first_at)


def size_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


if __name__ == "__main__":
    main(measure)
