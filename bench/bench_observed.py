"""What it costs to be watched: emits beside observers and a tap, `top`, the console, a scrape."""

from __future__ import annotations

import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import attrs
import msgspec
from _table import Row, main

from eventtracking import Tracker
from eventtracking_live.client import take_picture
from eventtracking_live.folder import living_sockets
from eventtracking_live.table import render, rows_of
from eventtracking_prometheus._histograms import WIDTH
from eventtracking_prometheus._metrics import TallyCollector
from eventtracking_prometheus._sheet import Layout, Notes, write
from eventtracking_prometheus._text import encode
from eventtracking_prometheus._totals import Reader, fold_dead
from eventtracking_testkit.distribution import fake_distribution

EMITS = 250
PACE_S = 0.005
"""So many emits in so much time: 50,000 a second."""
ROUNDS, ROUNDS_QUICK = 400, 60
WATCHED_S, WATCHED_QUICK_S = 10.0, 3.0
VIEWERS = 50
LOOK_S = 2.0
"""How often `top` looks."""
PROCESS = """
import sys, msgspec
from bench_observed import Null, fake_distribution, Tracker
with fake_distribution(plugins={"null": Null}):
    tracker = Tracker.from_config(msgspec.json.decode(sys.argv[1]))
tracker.emit("first")
print("ready", flush=True)
sys.stdin.read()
"""


@attrs.define(eq=False)
class Null:
    """Take everything."""

    def send(self, events: Any) -> None:
        """Do nothing."""


def measure(quick: bool) -> Iterator[Row]:
    """Measure each, one after the other."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        yield from emits(folder, ROUNDS_QUICK if quick else ROUNDS)
        yield top(folder)
        yield scrape(folder)
        yield from console(folder, WATCHED_QUICK_S if quick else WATCHED_S)


def emits(folder: Path, rounds: int) -> Iterator[Row]:
    """Emit at 50,000 a second, without observers, with both, and with a tap that is read."""
    live = {"plugin": "live", "folder": str(folder / "l")}
    metrics = {"plugin": "prometheus", "port": 0, "folder": str(folder / "p")}
    tapped = {"plugin": "live", "folder": str(folder / "t")}
    makers = {"unwatched": (), "live and prometheus": (live, metrics), "a tap": (tapped,)}
    with ExitStack() as stack:
        made = {label: stack.enter_context(tracker(*nodes)) for label, nodes in makers.items()}
        client = stack.enter_context(socket.socket(socket.AF_UNIX))
        client.connect(str(living_sockets(folder / "t")[0]))
        client.sendall(b'{"ask": "tap", "route": "a"}\n')
        client.setblocking(False)
        times: dict[str, list[float]] = {label: [] for label in made}
        for number in range(rounds):
            for label in sorted(made, reverse=bool(number % 2)):
                times[label].append(one_round(made[label]))
            with suppress(BlockingIOError):
                while client.recv(1 << 20):
                    pass
    for label, goal in (("unwatched", None), ("live and prometheus", 1.01), ("a tap", 1.05)):
        pairs = zip(times[label], times["unwatched"], strict=True)
        ratio = statistics.median(mine / other for mine, other in pairs)
        row = Row("an emit, 50,000 a second", label, statistics.median(times[label]), "us")
        yield row if goal is None else row.judged(ratio, at_most=goal)


def tracker(*observers: dict[str, Any]) -> Tracker:
    """Make a tracker with one null backend, and open it."""
    with fake_distribution(plugins={"null": Null}):
        made = Tracker.from_config(
            {"observers": list(observers), "backends": {"a": {"plugin": "null"}}}
        )
    made.emit("first")
    return made


def one_round(made: Tracker) -> float:
    """Return the microseconds of an emit, and wait until it is time for the next round."""
    began = time.perf_counter()
    for _ in range(EMITS):
        made.emit("edx.tick", {"n": 1, "course_id": "demo"})
    elapsed_s = time.perf_counter() - began
    time.sleep(max(PACE_S - elapsed_s, 0.0))
    return elapsed_s / EMITS * 1e6


def top(folder: Path) -> Row:
    """Look at 8 processes of 100 routes, as `top` does, and draw the table."""
    config = {
        "observers": [{"plugin": "live", "folder": str(folder / "top")}],
        "backends": {f"route{number}": {"plugin": "null"} for number in range(100)},
    }
    with ExitStack() as stack:
        for _ in range(8):
            stack.enter_context(running("-c", PROCESS, msgspec.json.encode(config).decode()))
        before = take_picture(folder / "top")
        looks = []
        for _ in range(10):
            began = time.process_time()
            render(rows_of(take_picture(folder / "top"), before, LOOK_S))
            looks.append(time.process_time() - began)
    percent = statistics.median(looks) / LOOK_S * 100
    return share("top, 8 processes, 100 routes", "every 2 s", percent, 2)


def scrape(folder: Path) -> Row:
    """Scrape 48 processes of 20 routes after 1,000 dead ones; the best of 50 times."""
    sheets = folder / "scraped"
    sheets.mkdir()
    routes = tuple(f"route{number}" for number in range(20))
    layout = Layout("default", routes, (), routes[:1], WIDTH)
    for count in (1_000, 48):
        for number in range(count):
            notes = Notes(pid=number, oldest_s=dict.fromkeys(routes, 1.0))
            path = sheets / f"{number}-{count}.sheet"
            write(path, layout, notes, range(1, layout.length + 1))
        if count == 1_000:
            fold_dead(sheets)
    collector = TallyCollector(Reader.of(sheets).read)
    encode(collector)
    took = min(timed(lambda: encode(collector)) for _ in range(50)) * 1e3
    row = Row("a scrape", "48 processes, 20 routes, 1,000 dead", took, "ms", note="of 5 ms")
    return row.judged(took / 5, at_most=1)


def console(folder: Path, watched_s: float) -> Iterator[Row]:
    """Start the console, and let 50 viewers watch its page."""
    file = folder / "eventtracking.json"
    backends = {
        f"store{number}": {"plugin": "sqlite", "path": str(folder / f"{number}.db")}
        for number in range(8)
    }
    observer = {"plugin": "live", "folder": str(folder / "c")}
    file.write_bytes(msgspec.json.encode({"observers": [observer], "backends": backends}))
    begin = ("-m", "eventtracking_cli", "console", "-c", str(file), "--port=0")
    imports = "import starlette.applications, starlette.staticfiles, uvicorn, jinja2; print()"
    server = min(started(("-c", imports)) for _ in range(5))
    took = min(started(begin) for _ in range(5))
    row = Row("the console's start", "until its address", took, "s", note="of its web server")
    yield row.judged(took / server, at_most=1.5)
    application = msgspec.json.encode({"observers": [observer], "backends": {}}).decode()
    with running("-c", PROCESS, application), running(*begin) as (process, line), ExitStack() as s:
        address, _, _ = line.partition("/?token=")
        cookie = cookie_of(line)
        for _ in range(VIEWERS):
            viewer = urllib.request.Request(f"{address}/live/routes", headers={"Cookie": cookie})
            s.enter_context(urllib.request.urlopen(viewer))
        before = cpu_s(process.pid)
        time.sleep(watched_s)
        percent = (cpu_s(process.pid) - before) / watched_s * 100
        yield share("the live page", f"{VIEWERS} viewers", percent, 3)


def share(group: str, label: str, percent: float, goal: float) -> Row:
    """Judge a share of a core."""
    row = Row(group, label, percent, "% of a core", note=f"of {goal} %")
    return row.judged(percent / goal, at_most=1)


def timed(call: Callable[[], object]) -> float:
    """Return the seconds of a core that a call takes."""
    began = time.process_time()
    call()
    return time.process_time() - began


def started(arguments: tuple[str, ...]) -> float:
    """Return the seconds until a program prints a line."""

    began = time.perf_counter()
    with running(*arguments):
        return time.perf_counter() - began


@contextmanager
def running(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run a program of this Python until the end of the block; give it and its first line."""
    with subprocess.Popen(
        [sys.executable, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        cwd=Path(__file__).parent,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


def cookie_of(address: str) -> str:
    """Open the one-time address."""

    class Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_: Any) -> None:
            """Do not follow."""

    try:
        urllib.request.build_opener(Stay).open(address)
    except urllib.error.HTTPError as answer:
        return str(answer.headers["Set-Cookie"]).partition(";")[0]
    raise RuntimeError("the console set no cookie")


def cpu_s(pid: int) -> float:
    """Return the seconds of a core that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main(measure)
