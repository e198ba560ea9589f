"""Real processes: one server for all, taken over, killed, forked."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families

from eventtracking import Tracker
from eventtracking_cli.app import app
from eventtracking_prometheus import app as apps
from eventtracking_prometheus._folder import FileLock, is_dead
from eventtracking_testkit.distribution import fake_distribution
from eventtracking_testkit.fakes import RecordingBackend

pytestmark = pytest.mark.needs("buffer", "logger", "cli")

SCENE = """
import json, os, sys
from eventtracking import Tracker
from eventtracking_testkit.distribution import fake_distribution

import attrs

@attrs.define(eq=False)
class Null:
    def send(self, events):
        if events[0].name == "bad":
            raise ValueError("bad")

config = json.loads(sys.argv[1])
with fake_distribution(plugins={"null": Null}):
    tracker = Tracker.from_config(config)
children = []
print("ready", flush=True)
for line in sys.stdin:
    verb, _, count = line.strip().partition(" ")
    if verb == "fork":
        if os.fork() == 0:
            import time; time.sleep(int(count or 60)); os._exit(0)
    elif verb == "end":
        break
    else:
        for _ in range(int(count)):
            tracker.emit(verb)
    print("done", flush=True)
tracker.close()
"""

Spawn = Callable[[dict[str, Any]], "Scene"]


class Scene:
    """A process with a tracker, which takes orders on its standard input."""

    def __init__(self, config: dict[str, Any]) -> None:
        import json

        self.process = subprocess.Popen(
            [sys.executable, "-c", SCENE, json.dumps(config)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._out.readline() == "ready\n"

    @property
    def _out(self) -> IO[str]:
        assert self.process.stdout is not None
        return self.process.stdout

    def do(self, what: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        if what != "end":
            assert self._out.readline() == "done\n"

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        self.do("end")
        assert self.process.wait(30) == 0


@pytest.fixture
def spawn() -> Iterator[Spawn]:
    """Start processes, and end those that are left."""
    scenes: list[Scene] = []

    def start(config: dict[str, Any]) -> Scene:
        scenes.append(Scene(config))
        return scenes[-1]

    yield start
    for scene in scenes:
        scene.kill()
        for pipe in (scene.process.stdin, scene.process.stdout):
            assert pipe is not None
            pipe.close()


@pytest.fixture
def config(observer: dict[str, Any]) -> dict[str, Any]:
    return {"observers": [observer], "backends": {"a": {"plugin": "null"}}}


def scrape(port: int, path: str = "/metrics") -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
        text: str = answer.read().decode()
        return text


def numbers(text: str, route: str = "a") -> dict[str, float]:
    """The values of one route: `{"events_total delivered": 3}`."""
    return {
        " ".join(
            (sample.name.removeprefix("eventtracking_"), sample.labels.get("outcome", ""))
        ).strip(): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.labels.get("route") == route and "reason" not in sample.labels
    }


def until(port: int, expected: dict[str, float], within_s: float = 15.0) -> dict[str, float]:
    """Scrape until the route `a` has these values."""
    deadline = time.monotonic() + within_s
    found: dict[str, float] = {}
    while time.monotonic() < deadline:
        try:
            found = numbers(scrape(port))
        except (OSError, urllib.error.URLError):
            found = {}
        if found.items() >= expected.items():
            return found
        time.sleep(0.05)
    raise AssertionError(f"{found} never came to {expected}")


@pytest.mark.timeout(180)
@pytest.mark.process
def test_one_port_serves_all_processes(spawn: Spawn, config: dict[str, Any], port: int) -> None:
    """Their counts add up, whichever answers; at other paths it says where the metrics are."""
    one, two = spawn(config), spawn(config)
    one.do("x 3")
    two.do("x 4")
    two.do("bad 1")
    found = until(port, {"events_received_total": 8, "events_total failed": 1})
    assert found["events_unaccounted"] == 0
    with pytest.raises(urllib.error.HTTPError, match="404") as refused:
        scrape(port, "/")
    refused.value.close()
    one.end()
    two.end()


@pytest.mark.timeout(180)
@pytest.mark.process
def test_another_process_takes_the_port_within_two_seconds(
    spawn: Spawn, config: dict[str, Any], port: int
) -> None:
    """Killed or ended, the counts of the server process stay."""
    first = spawn(config)
    first.do("x 3")
    until(port, {"events_received_total": 3})
    second = spawn(config)
    second.do("x 4")
    until(port, {"events_received_total": 7})
    first.kill()
    began = time.monotonic()
    found = until(port, {"events_received_total": 7})
    took_s = time.monotonic() - began
    assert took_s < 2.0 or os.getloadavg()[0] > 4, took_s
    assert found["events_total delivered"] == 7
    third = spawn(config)
    third.do("x 1")
    until(port, {"events_received_total": 8})
    second.end()
    until(port, {"events_received_total": 8, "events_total delivered": 8})


@pytest.mark.timeout(180)
@pytest.mark.process
def test_counts_survive_the_last_process(spawn: Spawn, config: dict[str, Any], port: int) -> None:
    """The next one goes on with the sums of those before."""
    for total in (5, 10, 15):
        scene = spawn(config)
        scene.do("x 5")
        until(port, {"events_received_total": total})
        scene.end() if total == 5 else scene.kill()


@pytest.mark.timeout(180)
@pytest.mark.process
def test_a_forked_child_holds_no_port(spawn: Spawn, config: dict[str, Any], port: int) -> None:
    """A child that never emits outlives its parent: the port is free for another process."""
    parent = spawn(config)
    parent.do("x 1")
    until(port, {"events_received_total": 1})
    parent.do("fork 30")
    parent.kill()
    heir = spawn(config)
    heir.do("x 1")
    until(port, {"events_received_total": 2})


@pytest.mark.timeout(180)
@pytest.mark.process
def test_pending_events_of_a_dead_process_have_failed(
    spawn: Spawn, observer: dict[str, Any], port: int
) -> None:
    """A buffer in memory dies with its process; the law holds, and the reason says why."""
    below = {"bad": {"plugin": "null"}}
    buffer = {"plugin": "buffer", "retry_base_s": 60.0, "retry_max_s": 60.0, "backends": below}
    config = {"observers": [observer], "backends": {"a": buffer}}
    one, two = spawn(config), spawn(config)
    two.do("x 0")
    one.do("bad 4")
    until(port, {"events_received_total": 4, "events_pending": 4})
    one.kill()
    two.do("x 1")
    found = until(port, {"events_received_total": 5, "events_total failed": 4, "events_pending": 0})
    assert found["events_unaccounted"] == 0
    assert 'reason="the process died"' in scrape(port)


def test_a_taken_port_is_told_and_tried_again(
    port: int, observer: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Another program has it: events go on, the log says so, and it is served once it is free."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        with fake_distribution(plugins={"null": RecordingBackend}):
            made = Tracker.from_config(
                {"observers": [observer], "backends": {"a": {"plugin": "null"}}}
            )
        made.emit("x")
        deadline = time.monotonic() + 10
        while "cannot listen at" not in caplog.text and time.monotonic() < deadline:
            time.sleep(0.05)
        assert f"cannot listen at 127.0.0.1:{port}" in caplog.text
    until(port, {"events_received_total": 1})
    made.close()


def test_a_new_config_of_the_same_tracker_doubles_nothing(
    port: int, observer: dict[str, Any]
) -> None:
    """The counts of a tracker go on, and so does its sheet."""
    config = {"observers": [observer], "backends": {"a": {"plugin": "null"}}}
    with fake_distribution(plugins={"null": RecordingBackend}):
        made = Tracker.from_config(config)
        made.emit("x")
        until(port, {"events_received_total": 1})
        made.configure(config)
        made.emit("x")
        until(port, {"events_received_total": 2, "events_total delivered": 2})
    time.sleep(1.2)  # longer than the housekeeper's turn
    assert numbers(scrape(port))["events_received_total"] == 2
    made.close()


def test_a_client_that_says_nothing_hurts_nobody(port: int, observer: dict[str, Any]) -> None:
    """Each scrape has a thread of its own, and a limit."""
    with fake_distribution(plugins={"null": RecordingBackend}):
        made = Tracker.from_config({"observers": [observer], "backends": {"a": {"plugin": "null"}}})
    made.emit("x")
    until(port, {"events_received_total": 1})
    with socket.create_connection(("127.0.0.1", port)):
        assert numbers(scrape(port))["events_received_total"] == 1
    made.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=1).close()


def test_wsgi_asgi_and_text_say_the_same(
    port: int, observer: dict[str, Any], tmp_path: Path
) -> None:
    """With port 0 nothing listens; the application is mounted instead."""
    import asyncio

    observer["port"] = 0
    with fake_distribution(plugins={"null": RecordingBackend}):
        made = Tracker.from_config({"observers": [observer], "backends": {"a": {"plugin": "null"}}})
    made.emit("x")
    deadline = time.monotonic() + 10
    while b"1.0" not in apps.text() and time.monotonic() < deadline:
        time.sleep(0.05)
    started: list[Any] = []
    [body] = apps.wsgi_app()({"REQUEST_METHOD": "GET"}, lambda *head: started.append(head))
    assert numbers(body.decode())["events_received_total"] == 1
    assert started[0][0] == "200 OK"
    [empty] = apps.wsgi_app()({"REQUEST_METHOD": "HEAD"}, lambda *head: None)
    assert empty == b""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def ask() -> None:
        await apps.asgi_app()({"type": "http", "method": "GET"}, lambda: None, send)

    asyncio.run(ask())
    assert numbers(sent[1]["body"].decode())["events_received_total"] == 1
    made.close()


@pytest.mark.timeout(180)
@pytest.mark.process
def test_the_command_writes_a_textfile(
    spawn: Spawn, config: dict[str, Any], port: int, tmp_path: Path
) -> None:
    """`eventtracking metrics --output` replaces the file, whole; rules and dashboard come along."""
    import json

    scene = spawn(config)
    scene.do("x 2")
    until(port, {"events_received_total": 2})
    config["backends"] = {"b": {"plugin": "logger"}}
    (tmp_path / "c.json").write_text(json.dumps(config))
    output = tmp_path / "eventtracking.prom"
    arguments = ["metrics", "-c", str(tmp_path / "c.json")]
    done = CliRunner().invoke(app, [*arguments, "--output", str(output)])
    assert done.exit_code == 0, done.output
    assert numbers(output.read_text())["events_received_total"] == 2
    assert [path.name for path in tmp_path.glob("*prom*")] == ["eventtracking.prom"]
    assert "EventtrackingUnaccounted" in CliRunner().invoke(app, ["metrics", "--rules"]).output
    dashboard = json.loads(CliRunner().invoke(app, ["metrics", "--dashboard"]).output)
    assert dashboard["title"] == "eventtracking"
    scene.end()


def test_a_folder_of_another_user_or_open_to_all_is_refused(
    port: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The observer is switched off with words; events go on."""
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    node = {"plugin": "prometheus", "port": port, "folder": str(tmp_path / "open")}
    with fake_distribution(plugins={"null": RecordingBackend}):
        made = Tracker.from_config({"observers": [node], "backends": {"a": {"plugin": "null"}}})
    made.emit("x")
    assert "every user may write to it" in caplog.text
    assert made.stats()["a"].delivered == 1
    made.close()


@pytest.mark.timeout(180)
@pytest.mark.process
def test_a_lock_tells_the_living_from_the_dead(tmp_path: Path) -> None:
    """A process never takes its own lock twice, nor lets go of it by asking."""
    path = tmp_path / "1.lock"
    lock = FileLock.take(path)
    assert lock is not None
    assert FileLock.take(path) is None
    assert not is_dead(path)
    script = (
        "import sys; from pathlib import Path;"
        "from eventtracking_prometheus._folder import is_dead;"
        "sys.exit(is_dead(Path(sys.argv[1])))"
    )
    asked = [sys.executable, "-c", script, str(path)]
    assert subprocess.run(asked, check=False).returncode == 0
    lock.release()
    assert subprocess.run(asked, check=False).returncode == 1


@pytest.mark.timeout(180)
@pytest.mark.process
def test_the_end_by_a_signal_is_an_end(spawn: Spawn, config: dict[str, Any], port: int) -> None:
    """SIGTERM without a handler ends a process at once: its published counts stay."""
    one = spawn(config)
    one.do("x 3")
    until(port, {"events_received_total": 3})
    one.process.send_signal(signal.SIGTERM)
    one.process.wait(10)
    two = spawn(config)
    two.do("x 1")
    until(port, {"events_received_total": 4})


DJANGO = """
import sys
from django.conf import settings
settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["testserver"], INSTALLED_APPS=[],
    SECRET_KEY="x")
import django
django.setup()
from django.test import Client
from django.urls import path
from eventtracking import Tracker
from eventtracking_prometheus.app import django_view
urlpatterns = [path("metrics", django_view)]
assert Client().get("/metrics").content.count(b"\\n") >= 1  # before any process has emitted
observer = {"plugin": "prometheus", "port": 0, "folder": sys.argv[1]}
with Tracker.from_config({"observers": [observer], "backends": {"log": {"plugin": "logger"}}}) as t:
    t.emit("edx.enrolled")
    for _ in range(200):
        answer = Client().get("/metrics")
        if b'route="log"' in answer.content:
            break
        __import__("time").sleep(0.05)
    print(answer.status_code, answer.headers["Content-Type"])
    print(answer.content.decode())
"""


@pytest.mark.process
def test_the_view_in_a_django_project(tmp_path: Path) -> None:
    """It answers with the metrics of the folder, in Prometheus's format."""
    done = subprocess.run(
        [sys.executable, "-c", DJANGO, tmp_path / "shared"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("200 text/plain; version=")
    line = 'eventtracking_events_received_total{route="log",tracker="default"} 1'
    assert line in done.stdout.replace("1.0", "1")
