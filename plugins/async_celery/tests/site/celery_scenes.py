"""The scenes of these tests: real workers as processes of their own, and what these deliver."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs

from eventtracking import Counts, Tracker

__all__ = ["SITE", "Scene", "Worker", "wait_for"]

SITE = Path(__file__).parent


@attrs.define(eq=False)
class Worker:
    """A `celery worker`, leader of a process group of its own."""

    process: subprocess.Popen[bytes]
    log: Path

    def wait_until_ready(self) -> Worker:
        """Wait until it reads its queues."""
        wait_for(lambda: " ready." in self.output() or self.process.poll() is not None, 60)
        assert self.process.poll() is None, self.output()
        return self

    def output(self) -> str:
        """What it has printed."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def stop(self) -> None:
        """End it in order: it finishes what it has begun."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self) -> None:
        """Kill -9 it and all its children at once."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(30)

    def children(self) -> list[int]:
        """The processes of its pool."""
        text = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in text.split()]


@attrs.define(eq=False)
class Scene:
    """A broker, a config, workers for it, and what they deliver."""

    folder: Path
    broker_url: str
    queue: str = attrs.field(factory=lambda: f"q{uuid.uuid4().hex[:8]}")
    workers: list[Worker] = attrs.field(factory=list)
    trackers: list[Tracker] = attrs.field(factory=list)

    @property
    def is_redis(self) -> bool:
        return self.broker_url.startswith("redis")

    def record(self, name: str = "store", **options: Any) -> dict[str, Any]:
        """A backend that writes into a file of its own."""
        return {"plugin": "record", "path": str(self.folder / name), **options}

    def router(self, backends: dict[str, Any], **options: Any) -> dict[str, Any]:
        """The node of the router."""
        fast = {"visibility_timeout_s": 2.0} if self.is_redis else {}
        node = {
            "plugin": "async_celery",
            "broker_url": self.broker_url,
            "queue": self.queue,
            "min_retry_s": 0.2,
        }
        return {**node, **fast, "publish_timeout_s": 2.0, "backends": backends, **options}

    def write(self, config: dict[str, Any], name: str = "config.json") -> Path:
        """Write a config into a file."""
        file = self.folder / name
        file.write_text(json.dumps(config))
        return file

    def tracker(self, config: dict[str, Any]) -> Tracker:
        """A tracker that is closed at the end."""
        self.trackers.append(Tracker.from_config(config))
        return self.trackers[-1]

    def worker(
        self,
        config: Path | None,
        *options: str,
        app: str = "eventtracking_async_celery.worker",
        wait: bool = True,
    ) -> Worker:
        """Start a worker for a config."""
        quiet = ("--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel=INFO")
        name = (
            f"--hostname={uuid.uuid4().hex}@%h"  # two of one name on one broker shut each other out
        )
        command = [
            sys.executable,
            "-m",
            "celery",
            "-A",
            app,
            "worker",
            "--concurrency=1",
            name,
            *quiet,
            *options,
        ]
        return self.start(command, config, wait)

    def start(self, command: list[str], config: Path | None, wait: bool = True) -> Worker:
        """Start a worker by a command of one's own."""
        env = {
            **os.environ,
            "PYTHONPATH": str(SITE),
            "FAKES_STATS": str(self.folder),
            "PYTHONWARNINGS": "ignore",
        }
        if config is not None:
            env["EVENTTRACKING_CONFIG"] = str(config)
        log = self.folder / f"worker{len(self.workers)}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                command,
                env=env,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                start_new_session=True,
            )
        self.workers.append(Worker(process, log))
        return self.workers[-1].wait_until_ready() if wait else self.workers[-1]

    def stored(self, name: str = "store") -> list[dict[str, Any]]:
        """What a backend has written."""
        file = self.folder / name
        if not file.exists():
            return []
        whole, _, _ = file.read_text().rpartition("\n")  # what follows is being written just now
        return [json.loads(line) for line in whole.splitlines()]

    def ids(self, name: str = "store") -> list[str]:
        """The names of the events that a backend has written."""
        return sorted(line["name"] for line in self.stored(name))

    def tries(self, name: str = "store") -> list[int]:
        """How many events each call of a backend had."""
        file = self.folder / f"{name}.tried"
        return [int(line) for line in file.read_text().splitlines()] if file.exists() else []

    def worker_counts(self, path: str) -> Counts:
        """The counts of a route, of all processes of all workers."""
        total = Counts()
        for file in self.folder.glob("stats.*"):
            counts = Counts(**json.loads(file.read_text())[path])
            assert counts.balanced, (file, path, counts)
            total += counts
        return total

    def close(self) -> None:
        """End the workers, and then the trackers."""
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.kill()
        for tracker in self.trackers:
            assert all(counts.balanced for counts in tracker.stats().values()), tracker.stats()
            tracker.close(0.5)


def wait_for(condition: Callable[[], object], timeout_s: float = 30.0) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.03)
