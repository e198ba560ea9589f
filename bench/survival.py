"""Show what survives: `make survival`, or `python bench/survival.py --only disk`.

Prints a table, and writes nothing.

Every cell is a program of its own that emits events with one library, default settings, and then
ends in one way. The sink takes 20 ms for each request. A cell shows how many of the events have
arrived after the program was started once more.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from _environments import OURS, python_of
from _sink import Sink
from _table import Unavailable
from survival_scene import FEW, FORKED, MANY, our_config

from eventtracking_testkit.services import RedisServer

HERE = Path(__file__).resolve().parent
ENVIRONMENT = "survival"
LATENCY_S = 0.02
PATIENCE_S = 60.0
REQUESTS = 95
HANDED_OVER = 500

OWN = {"memory": "eventtracking, memory", "disk": "eventtracking, disk"}
PEERS = {
    "posthog": "PostHog",
    "segment": "Segment",
    "rudderstack": "RudderStack",
    "snowplow": "Snowplow",
    "opentelemetry": "OpenTelemetry logs",
    "sentry": "Sentry",
}
NAMES = {**OWN, **PEERS}


class Cell:
    """One program that is to be ended: its sink, its folder, its environment."""

    def __init__(self, system: str, folder: Path, sink: Sink, broker: str) -> None:
        self.system = system
        self.folder = folder
        self.sink = sink
        self.queue = f"survival.{uuid.uuid4().hex[:8]}"
        self.python = python_of(OURS if system in OWN else ENVIRONMENT)
        self.environ = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE / "sinks")]),
            "PYTHONDONTWRITEBYTECODE": "1",
            "SURVIVAL_SYSTEM": system,
            "SURVIVAL_PORT": str(sink.port),
            "SURVIVAL_FOLDER": str(folder),
            "SURVIVAL_BROKER": broker,
            "SURVIVAL_QUEUE": self.queue,
        }
        self.log = (folder / "log").open("w+b")

    def start(self, *arguments: str | Path) -> subprocess.Popen[bytes]:
        """Start a program in a process group of its own."""
        return subprocess.Popen(
            [self.python, *arguments],
            env=self.environ,
            cwd=HERE,
            stdout=self.log,
            stderr=self.log,
            start_new_session=True,
        )

    def play(self, scene: str) -> None:
        """Let a scene run to its end; one that hangs is killed, which is its end then."""
        with (
            killed_at_last(self.start(HERE / "survival_scene.py", self.system, scene)) as program,
            suppress(subprocess.TimeoutExpired),
        ):
            program.wait(PATIENCE_S)

    def start_again(self) -> None:
        """Start the program once more, and check its books."""
        command: list[str | Path] = [
            self.python,
            HERE / "survival_scene.py",
            self.system,
            "start_again",
        ]
        done = subprocess.run(
            command,
            env=self.environ,
            cwd=HERE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            timeout=PATIENCE_S,
            check=True,
        )
        if self.system in OWN:
            books = json.loads(done.stdout)
            assert books["balanced"], f"the law is broken: {books['stats']}"

    def said(self) -> str:
        """What its programs printed."""
        self.log.seek(0)
        return self.log.read().decode(errors="replace")


@contextmanager
def killed_at_last(program: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """End a program with all of its children, if it has not ended."""
    try:
        yield program
    finally:
        kill(program)


def kill(program: subprocess.Popen[bytes]) -> None:
    """Kill -9 a program and its children at one moment."""
    with suppress(ProcessLookupError):
        os.killpg(program.pid, signal.SIGKILL)
    program.wait()


def wait_until(
    condition: Callable[[], object], program: subprocess.Popen[bytes] | None = None
) -> bool:
    """Wait until something holds; False if the program has ended before, or the patience has."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline or (program is not None and program.poll() is not None):
            return False
        time.sleep(0.02)
    return True


# The ways to end


def plain(scene: str) -> Callable[[Cell], None]:
    return lambda cell: cell.play(scene)


def gunicorn(number: signal.Signals) -> Callable[[Cell], None]:
    """Serve requests with two workers that were forked from a loaded application, then stop or kill
    all of it.
    """

    def run(cell: Cell) -> None:
        port = free_port()
        command = (
            "-m",
            "gunicorn",
            "--preload",
            "--workers",
            "2",
            "--bind",
            f"127.0.0.1:{port}",
            "survival_web",
        )
        with killed_at_last(cell.start(*command)) as server:
            if not wait_until(lambda: answers(port), server):
                raise RuntimeError(f"gunicorn does not answer: {cell.said()}")
            for index in range(REQUESTS):
                get(port, FORKED[0] + index)
            if number is signal.SIGTERM:
                server.terminate()
                with suppress(subprocess.TimeoutExpired):
                    server.wait(PATIENCE_S)

    return run


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def get(port: int, number: int) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/{number}", timeout=PATIENCE_S) as answer:
        assert answer.read() == b"ok"


def killed_task(cell: Cell) -> None:
    """Kill a Celery worker in the middle of a task that has emitted."""
    with killed_at_last(cell.start(*celery("survival_celery"))) as worker:
        code = "import survival_celery as module; module.work.apply_async()"
        subprocess.run(
            [cell.python, "-c", code],
            env=cell.environ,
            cwd=HERE,
            stderr=cell.log,
            check=True,
            timeout=PATIENCE_S,
        )
        if not wait_until((cell.folder / "emitted").exists, worker):
            raise RuntimeError(f"the task did not run: {cell.said()}")


def killed_delivery(cell: Cell) -> None:
    """Kill the Celery worker that delivers, in the middle of a batch; another one is started."""
    sink = {"plugin": "survival_sink", "port": cell.sink.port}
    router = {
        "plugin": "async_celery",
        "broker_url": cell.environ["SURVIVAL_BROKER"],
        "queue": cell.queue,
        "visibility_timeout_s": 2.0,
        "max_batch_events": 50,
        "backends": {"http": sink},
    }
    os.environ["SURVIVAL_FOLDER"] = str(cell.folder)
    config = cell.folder / "config.json"
    config.write_text(json.dumps(our_config(cell.system, {"workers": router})), encoding="utf-8")
    cell.environ["EVENTTRACKING_CONFIG"] = str(config)
    code = (
        "import survival_scene as s, eventtracking as e;"
        f" s.emit_some(e.configure({str(config)!r}).emit, {HANDED_OVER})"
    )
    subprocess.run(
        [cell.python, "-c", code],
        env=cell.environ,
        cwd=HERE,
        stderr=cell.log,
        check=True,
        timeout=PATIENCE_S,
    )
    command = celery("eventtracking_async_celery.worker")
    cell.sink.latency_s = 0.3
    with killed_at_last(cell.start(*command)) as worker:
        if not wait_until(lambda: cell.sink.busy and cell.sink.kept, worker):
            raise RuntimeError(f"the worker delivers nothing: {cell.said()}")
    cell.sink.latency_s = LATENCY_S
    with killed_at_last(cell.start(*command)) as worker:
        wait_until(lambda: cell.sink.kept == HANDED_OVER, worker)


def celery(application: str) -> Sequence[str]:
    quiet = ("--without-gossip", "--without-mingle", "--without-heartbeat")
    return ("-m", "celery", "-A", application, "worker", "--concurrency=1", *quiet)


class Way:
    """A row of the matrix: how the program ends, how many events it emits, and who takes part."""

    def __init__(
        self,
        name: str,
        emitted: int,
        run: Callable[[Cell], None],
        systems: Sequence[str] = tuple(NAMES),
    ) -> None:
        self.name = name
        self.emitted = emitted
        self.run = run
        self.systems = systems


WAYS = (
    Way("clean exit, 2,000 queued", MANY, plain("leave")),
    Way("SIGTERM that nobody handles", FEW, plain("be_terminated")),
    Way("`os._exit`", FEW, plain("leave_at_once")),
    Way("`kill -9`", FEW, plain("be_killed")),
    Way("5 before a fork, 20 in the child", sum(FORKED), plain("fork")),
    Way("gunicorn, preload, 2 workers, stopped", FORKED[0] + REQUESTS, gunicorn(signal.SIGTERM)),
    Way("gunicorn, preload, 2 workers, `kill -9`", FORKED[0] + REQUESTS, gunicorn(signal.SIGKILL)),
    Way("in a Celery task, worker `kill -9`", FEW, killed_task),
    Way(
        "delivered by Celery, worker `kill -9` mid-batch", HANDED_OVER, killed_delivery, tuple(OWN)
    ),
)


def measure(way: Way, system: str, broker: str) -> int:
    """Run one cell; how many of its events have arrived."""
    sink = Sink(LATENCY_S)
    with tempfile.TemporaryDirectory(prefix="survival-") as name:
        cell = Cell(system, Path(name), sink, broker)
        try:
            way.run(cell)
            sink.settle()
            if system in OWN and way.run is not killed_delivery:
                cell.start_again()
            return sink.settle()
        finally:
            cell.log.close()
            sink.close()


def matrix(systems: Sequence[str], ways: Sequence[Way]) -> Iterator[tuple[Way, dict[str, int]]]:
    """Measure cell by cell."""
    with RedisServer() as broker:
        for way in ways:
            row: dict[str, int] = {}
            for system in systems:
                if system in way.systems:
                    print(f"trying: {way.name}: {NAMES[system]} ...", file=sys.stderr, flush=True)
                    row[system] = measure(way, system, broker.uri)
            yield way, row


def table(rows: Sequence[tuple[Way, Mapping[str, int]]], systems: Sequence[str]) -> str:
    """Write the matrix as Markdown."""
    lines = [["the program's end", "emitted", *[NAMES[system] for system in systems]]]
    lines.append(["---", "---:", *["---:" for _ in systems]])
    for way, row in rows:
        lines.append(
            [
                way.name,
                f"{way.emitted:,}",
                *[f"{row[system]:,}" if system in row else "-" for system in systems],
            ]
        )
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "| "
        + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        + " |"
        for line in lines
    )


def versions() -> str:
    """Name the versions of the peers."""
    pinned = (HERE / "requirements" / f"{ENVIRONMENT}.in").read_text(encoding="utf-8").split()
    return "Measured with " + ", ".join(line.replace("==", " ") for line in pinned) + "."


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--only", action="append", choices=NAMES, help="one library; may be repeated"
    )
    parser.add_argument("--json", action="store_true", help="print a line of JSON for each row")
    return parser.parse_args()


def main() -> int:
    """Measure, and print. The exit status is 1 if a buffer on disk has lost an event."""
    options = parse()
    systems = options.only or list(NAMES)
    rows = []
    try:
        for way, row in matrix(systems, WAYS):
            rows.append((way, row))
            if options.json:
                print(
                    json.dumps({"way": way.name, "emitted": way.emitted, "kept": row}), flush=True
                )
    except Unavailable as reason:
        sys.exit(f"not measured: {reason}")
    if not options.json:
        print(f"{table(rows, systems)}\n\n{versions()}")
    return int(any(row.get("disk", way.emitted) != way.emitted for way, row in rows))


if __name__ == "__main__":
    sys.exit(main())
