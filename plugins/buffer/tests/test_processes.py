"""The buffer in the ways in which applications run: exits, forks, pools, servers that fork, gevent,
asyncio.
"""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eventtracking_buffer.disk.state.connection import State
from eventtracking_testkit.fakes import read_recorded

pytestmark = pytest.mark.process

Program = Callable[..., "subprocess.Popen[str]"]
Until = Callable[..., None]

TRACKER = """
kind, folder, below = sys.argv[1:4]
options = {"storage": "disk", "path": folder} if kind == "disk" else {"storage": "memory"}
tracker = Tracker.from_config({"backends": {"b": {
    "plugin": "buffer", **options, "backends": {"p": {"plugin": "rec", "path": below}},
}}})
"""


@pytest.fixture(params=["memory", "disk"])
def run(
    request: pytest.FixtureRequest, program: Program, tmp_path: Path
) -> Callable[[str], tuple[Counter[str], subprocess.Popen[str]]]:
    """Return a function that runs a program to its end, and counts the names of what arrived."""

    def run(source: str) -> tuple[Counter[str], subprocess.Popen[str]]:
        below = tmp_path / "below.jsonl"
        process = program(TRACKER + source, request.param, tmp_path / "buffer", below)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        assert "lost" not in err
        return Counter(line["name"] for line in read_recorded(below)), process

    return run


def test_a_clean_exit_delivers_everything(run: Any) -> None:
    """2,000 events that were just emitted arrive, without a call to close."""
    found, _ = run("""
for _ in range(2_000):
    tracker.emit("x")
""")
    assert found == {"x": 2_000}


def test_emits_at_exit_arrive(run: Any) -> None:
    """An exit function that emits, registered before the tracker's, still loses nothing unseen."""
    found, _ = run("""
import atexit
tracker.emit("first")
atexit.register(tracker.emit, "at exit")
""")
    assert found == {"first": 1, "at exit": 1}


def test_a_fork_keeps_the_parents_events_with_the_parent(run: Any) -> None:
    """5 before the fork and 20 in the child arrive once each, when the child ends as
    children do.
    """
    found, _ = run("""
for _ in range(5):
    tracker.emit("parent")
child = os.fork()
if child == 0:
    for _ in range(20):
        tracker.emit("child")
    sys.exit(0)
os.waitpid(child, 0)
""")
    assert found == {"parent": 5, "child": 20}


@pytest.mark.timeout(180)
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_multiprocessing(run: Any, method: str) -> None:
    """The children of multiprocessing deliver theirs, though they leave without exit functions."""
    found, _ = run(f"""
import multiprocessing
def work():
    for _ in range(20):
        tracker.emit("child")
if __name__ == "__main__":
    tracker.emit("parent")
    context = multiprocessing.get_context("{method}")
    children = [context.Process(target=work) for _ in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join()
        assert child.exitcode == 0
""")
    assert found == {"parent": 1, "child": 60}


@pytest.mark.timeout(180)
def test_a_change_beside_a_fork_is_noticed(tmp_path: Path) -> None:
    """A request that another process leaves while the connection is closed for a fork is seen."""
    path = tmp_path / "state.db"
    state = State(path, synced=False)
    before = state.version()
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    other = sqlite3.connect(path)
    other.execute("INSERT INTO requests (kind, route) VALUES ('retire', 'b/gone')")
    other.commit()
    other.close()
    assert state.version() != before
    assert state.version() == state.version()
    state.close()


def test_forks_of_forks_under_load(run: Any) -> None:
    """Forked while threads emit, every child works: it inherits no lock that nobody will ever
    release.
    """
    found, _ = run("""
# so that the parent delivers: a child that does, and leaves by os._exit, has some events come twice
tracker.emit("first")
assert tracker.flush(20)
stop = threading.Event()
count = [0]
def emit():
    while not stop.is_set():
        tracker.emit("thread")
        count[0] += 1
        time.sleep(0.0001)
thread = threading.Thread(target=emit)
thread.start()
for _ in range(10):
    child = os.fork()
    if child == 0:
        tracker.emit("child")
        tracker.flush(20)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
stop.set()
thread.join()
tracker.emit("total %d" % count[0])
""")
    total = next(name for name in found if name.startswith("total"))
    assert found["child"] == 10
    assert found["thread"] == int(total.split()[1])


@pytest.mark.timeout(180)
@pytest.mark.parametrize("patched", [True, False])
def test_gevent(run: Any, patched: bool) -> None:
    """Greenlets emit, and what they emit arrives, with the standard library patched or not."""
    pytest.importorskip("gevent")
    found, _ = run(f"""
from gevent import monkey
{"monkey.patch_all()" if patched else ""}
import gevent
def emit():
    for _ in range(20):
        tracker.emit("x")
        gevent.sleep(0.001)
gevent.joinall([gevent.spawn(emit) for _ in range(10)])
assert tracker.flush(20)
""")
    assert found == {"x": 200}


@pytest.mark.timeout(180)
def test_gevent_patched_before_everything(program: Program, tmp_path: Path) -> None:
    """Patched in the first line, as servers do it, threads are greenlets; nothing hangs."""
    pytest.importorskip("gevent")
    below = tmp_path / "below.jsonl"
    file = tmp_path / "patched.py"
    source = (
        "from gevent import monkey; monkey.patch_all()\n"
        "import sys\n"
        "from eventtracking import Tracker\n"
        "from eventtracking_testkit.distribution import fake_distribution\n"
        "from eventtracking_testkit.fakes import RecordingBackend\n"
        'installed = fake_distribution(plugins={"rec": RecordingBackend})\n'
        "installed.__enter__()\n"
    )
    file.write_text(source + TRACKER + 'for _ in range(500):\n    tracker.emit("x")\n')
    for kind in ("memory", "disk"):
        done = subprocess.run(
            [sys.executable, str(file), kind, str(tmp_path / "buffer"), str(below)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    assert len(read_recorded(below)) == 1_000


def test_asyncio(run: Any) -> None:
    """Tasks emit without blocking the loop."""
    found, _ = run("""
import asyncio
async def emit():
    for _ in range(20):
        tracker.emit("x")
        await asyncio.sleep(0)
async def main():
    await asyncio.gather(*(emit() for _ in range(10)))
asyncio.run(main())
""")
    assert found == {"x": 200}


def test_billiard(run: Any) -> None:
    """The pool processes of Celery leave by os._exit: what was flushed, or is on disk, arrives."""
    pytest.importorskip("billiard")
    found, _ = run("""
import billiard
def work():
    for _ in range(20):
        tracker.emit("child")
    tracker.flush(20)
tracker.emit("parent")
children = [billiard.Process(target=work) for _ in range(2)]
for child in children:
    child.start()
for child in children:
    child.join()
""")
    assert found == {"parent": 1, "child": 40}


SITE = """
import sys
from eventtracking import Tracker
from eventtracking_testkit.distribution import fake_distribution
from eventtracking_testkit.fakes import RecordingBackend
installed = fake_distribution(plugins={{"rec": RecordingBackend}})
installed.__enter__()
tracker = Tracker.from_config({{"backends": {{"b": {{
    "plugin": "buffer", **{options!r}, "backends": {{"p": {{"plugin": "rec", "path": {below!r}}}}},
}}}}}})
tracker.emit("preload")

def app(environ, start_response):
    tracker.emit("request")
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""


@pytest.mark.parametrize("kind", ["memory", "disk"])
def test_gunicorn_with_preload(tmp_path: Path, kind: str, until: Until) -> None:
    """Emits at import in the master, and in the forked workers, arrive when the server is
    stopped.
    """
    pytest.importorskip("gunicorn")
    below = tmp_path / "below.jsonl"
    options = (
        {"storage": "disk", "path": str(tmp_path / "buffer")}
        if kind == "disk"
        else {"storage": "memory"}
    )
    (tmp_path / "site_under_test.py").write_text(SITE.format(options=options, below=str(below)))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "gunicorn",
        "--preload",
        "-w",
        "2",
        "-b",
        f"127.0.0.1:{port}",
        "site_under_test:app",
    ]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as server:
        try:
            until(lambda: _answers(port))
            for _ in range(50):
                assert _answers(port)
        finally:
            server.send_signal(signal.SIGTERM)
            _, err = server.communicate(timeout=60)
    found = Counter(line["name"] for line in read_recorded(below))
    assert found["preload"] == 1, err
    assert found["request"] >= 50, err


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
            return bool(answer.read() == b"ok")
    except OSError:
        time.sleep(0.05)
        return False
