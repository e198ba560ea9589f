"""The socket, `top` and `tap`, with real processes."""

from __future__ import annotations

import json
import os
import pty
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from eventtracking import ConfigError, Event, Tracker
from eventtracking_cli.app import app
from eventtracking_live.client import take_picture
from eventtracking_live.folder import Place, living_sockets
from eventtracking_live.tapping import matches
from eventtracking_testkit.distribution import fake_distribution
from eventtracking_testkit.fakes import RecordingBackend

pytestmark = pytest.mark.needs("buffer", "sqlite", "cli")

SCENE = """
import json, sys, time
from eventtracking import Tracker
tracker = Tracker.from_config(json.load(open(sys.argv[1])))
tracker.emit("start", {"n": 1})
print("ready", flush=True)
number = 0
while True:
    number += 1
    tracker.emit("edx.tick" if number % 2 else "tock", {"n": number, "user": {"id": 7}})
    time.sleep(0.01)
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A config with a buffer on disk, whose folder is shared, and a store."""
    path = tmp_path / "c.json"
    store = {"plugin": "sqlite", "path": str(tmp_path / "events.db")}
    disk = {"plugin": "buffer", "storage": "disk", "path": str(tmp_path / "buffer")}
    path.write_text(
        json.dumps(
            {
                "observers": [{"plugin": "live", "folder": str(tmp_path / "live")}],
                "backends": {
                    "direct": store,
                    "disk": {**disk, "backends": {"below": {**store, "path": f"{tmp_path}/b.db"}}},
                },
            }
        )
    )
    return path


@pytest.fixture
def spawn(config: Path) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Start a process that emits a hundred events a second."""
    started: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", SCENE, str(config)], stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def local(tmp_path: Path, **backends: dict[str, Any]) -> Tracker:
    with fake_distribution(plugins={"null": RecordingBackend}):
        return Tracker.from_config(
            {
                "observers": [{"plugin": "live", "folder": str(tmp_path / "l")}],
                "backends": backends or {"a": {"plugin": "null"}},
            }
        )


@pytest.mark.timeout(180)
@pytest.mark.process
def test_top_adds_up_all_processes_and_reads_stores_of_the_dead(
    spawn: Callable[[], subprocess.Popen[str]], config: Path
) -> None:
    """Own counts are summed, those of a store are read once; with no process alive, from disk."""
    one, two = spawn(), spawn()
    done = invoke("top", "-c", config, "--json", "--interval", "1")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert sorted(found["processes"]) == sorted([one.pid, two.pid])
    routes = {row["route"]: row for row in found["routes"]}
    assert list(routes) == ["", "direct", "disk", "disk/below"]
    assert routes["direct"]["in_per_s"] > 20
    look = ("top", "-c", config, "--interval", "0.1")
    below = invoke(*look, "--filter", "below").stdout.splitlines()
    assert [line.split()[0] for line in below[2:]] == ["disk/below"]
    rows = invoke(*look, "--sort", "in/s").stdout.splitlines()[2:]
    rates = [float(re.findall(r"\s([\d,.]+)", row)[0].replace(",", "")) for row in rows]
    assert rates == sorted(rates, reverse=True)
    for process in (one, two):
        process.kill()
        process.wait()
    table = invoke("top", "-c", config, "--interval", "0.1").stdout.splitlines()
    assert table[0] == "no living process"
    assert table[1].split()[:4] == ["route", "in/s", "out/s", "pending"]
    assert any(line.startswith("    below") for line in table)
    assert list((config.parent / "live").glob("*.sock")) == []


@pytest.mark.timeout(180)
@pytest.mark.process
def test_tap_shows_what_passes_now(
    spawn: Callable[[], subprocess.Popen[str]], config: Path
) -> None:
    """By name and field, from all processes; JSON lines, or one readable line each."""
    spawn()
    spawn()
    done = invoke(
        "tap", "-c", config, "direct", "--name", "edx.*", "--field", "user.id=7", "--limit", 5,
        "--json",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(events) == 5
    assert {event["name"] for event in events} == {"edx.tick"}
    assert {event["outcome"] for event in events} == {"delivered"}
    assert "5 events shown" in done.stderr
    readable = invoke("tap", "-c", config, "--name", "tock", "--limit", 1)
    assert "delivered" in readable.stdout
    assert "tock" in readable.stdout
    before = invoke("tap", "-c", config, "direct", "--before", "--limit", 1, "--json")
    assert json.loads(before.stdout)["data"]["user"] == {"id": 7}
    wrong = invoke("tap", "-c", config, "nope")
    assert wrong.exit_code == 1
    assert "no route at 'nope'" in wrong.output


def test_tap_says_when_nobody_is_there(config: Path) -> None:
    """And which lines of the config are missing."""
    done = invoke("tap", "-c", config)
    assert done.exit_code == 1
    assert "no living process" in done.output


@pytest.mark.timeout(180)
@pytest.mark.process
def test_an_interactive_top_draws_sorts_and_ends(
    spawn: Callable[[], subprocess.Popen[str]], config: Path
) -> None:
    """In a real terminal: it shows the routes and the help, and `q` ends it."""
    spawn()
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ |= {"TERM": "xterm", "LINES": "30", "COLUMNS": "120"}
        os.execv(
            sys.executable, [sys.executable, "-m", "eventtracking_cli", "top", "-c", str(config)]
        )
    shown = b""

    def until(text: bytes) -> None:
        nonlocal shown
        deadline = time.monotonic() + 20
        while text not in shown and time.monotonic() < deadline:
            shown += os.read(terminal, 65536)
        assert text in shown, shown
        shown = b""

    until(b"below")
    os.write(terminal, b"s")
    until(b"in/s")
    os.write(terminal, b"?")
    until(b"this help")
    os.write(terminal, b"?/direct\nq")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(terminal)


@pytest.mark.timeout(180)
@pytest.mark.process
def test_a_dead_process_leaves_nothing_behind(
    spawn: Callable[[], subprocess.Popen[str]], config: Path
) -> None:
    """Its socket is found by the free lock, and removed; the living stay."""
    dead, living = spawn(), spawn()
    folder = config.parent / "live"
    assert len(living_sockets(folder)) == 2
    dead.kill()
    dead.wait()
    assert [path.name.split("-")[0] for path in living_sockets(folder)] == [str(living.pid)]
    assert len(list(folder.iterdir())) == 2


def test_the_folder_is_private(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is made with mode 0700; one that others may use is refused, and events go on."""
    made = local(tmp_path)
    made.emit("x")
    assert (tmp_path / "l").stat().st_mode & 0o777 == 0o700
    made.close()
    assert list((tmp_path / "l").iterdir()) == []
    (tmp_path / "l").chmod(0o755)
    open_to_all = local(tmp_path)
    open_to_all.emit("x")
    assert "others may use it" in caplog.text
    open_to_all.close()


def test_a_path_that_is_too_long_is_a_problem_of_the_config(tmp_path: Path) -> None:
    """Linux takes 107 bytes."""
    with pytest.raises(ConfigError, match=r"observers\[0\].folder.*exceed 107 bytes"):
        Tracker.from_config(
            {"observers": [{"plugin": "live", "folder": str(tmp_path / ("x" * 100))}]}
        )


def test_clients_that_say_nothing_or_nonsense_hurt_nobody(tmp_path: Path) -> None:
    """Others are answered meanwhile."""
    made = local(tmp_path)
    made.emit("x")
    [path] = living_sockets(tmp_path / "l")
    silent, mad = (socket.socket(socket.AF_UNIX) for _ in range(2))
    with silent, mad:
        silent.connect(str(path))
        mad.connect(str(path))
        mad.sendall(b"\xff{[\n")
        picture = take_picture(tmp_path / "l")
        assert picture.counts["a"].delivered == 1
        assert mad.recv(10) == b""
    assert living_sockets(tmp_path / "l") == [path]  # the own lock was not let go of
    made.close()


@pytest.mark.timeout(180)
def test_a_tap_whose_reader_hangs_slows_nothing_and_ends(tmp_path: Path) -> None:
    """The client is let go of after its time limit, the route is as before, each emit counted."""
    made = local(tmp_path)
    made.emit("x", {"text": "y" * 50_000})
    [path] = living_sockets(tmp_path / "l")
    route = made._tree.routes["a"]
    with socket.socket(socket.AF_UNIX) as hanging:
        hanging.connect(str(path))
        hanging.sendall(b'{"ask": "tap", "route": "a"}\n')
        deadline = time.monotonic() + 25
        while route.tap is None and time.monotonic() < deadline:
            time.sleep(0.01)
        while route.tap is not None and time.monotonic() < deadline:
            made.emit("x", {"text": "y" * 50_000})
            time.sleep(0.001)
        assert route.tap is None
    assert made.stats()["a"].pending == 0
    made.close()


def test_closing_ends_the_taps(tmp_path: Path) -> None:
    """No thread is left behind."""
    made = local(tmp_path)
    made.emit("x")
    [path] = living_sockets(tmp_path / "l")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.sendall(b'{"ask": "tap", "route": ""}\n')
        client.settimeout(10)
        assert b"skipped" in client.recv(1000)
        made.close()
        while client.recv(1000):
            pass
    deadline = time.monotonic() + 10
    while "eventtracking-live-client" in {t.name for t in threading.enumerate()}:
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.process
def test_a_forked_child_listens_for_itself(tmp_path: Path) -> None:
    """The parent's socket stays the parent's."""
    made = local(tmp_path)
    made.emit("x")
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            made.emit("in the child")
            os.write(writing, b"1")
            time.sleep(60)
        finally:
            os._exit(0)
    assert os.read(reading, 1) == b"1"
    picture = take_picture(tmp_path / "l")
    assert {state.pid for state in picture.processes} == {os.getpid(), pid}
    assert picture.counts["a"].delivered == 2
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    os.close(reading)
    os.close(writing)
    made.close()


def test_filters() -> None:
    """By name, a beginning of it, and fields of data or context."""
    event = Event(name="edx.a", data={"n": 1, "u": {"id": "7"}}, context={"host": "h"})
    for name, fields, expected in (
        ("", {}, True),
        ("edx.a", {}, True),
        ("edx.*", {}, True),
        ("a.*", {}, False),
        ("", {"n": "1"}, True),
        ("", {"u.id": "7", "host": "h"}, True),
        ("", {"data.host": "h"}, False),
        ("", {"context.host": "h"}, True),
        ("", {"n.x": "1"}, False),
    ):
        assert matches(event, name, fields) is expected, (name, fields)


def test_a_place_is_taken_once(tmp_path: Path) -> None:
    """And left without a trace."""
    place = Place.take(tmp_path / "p")
    assert living_sockets(tmp_path / "p") == []
    place.leave()
    assert list((tmp_path / "p").iterdir()) == []
