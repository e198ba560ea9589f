"""A real Prometheus scrapes gunicorn, whose workers are killed and replaced under load."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from eventtracking import Tracker

pytestmark = pytest.mark.needs("buffer", "name_filter", "sqlite")

APPLICATION = """
import json, os
import eventtracking
from eventtracking import tracker

eventtracking.configure({config!r})
tracker.emit("preloaded")

def application(environ, start_response):
    name = environ["PATH_INFO"].strip("/")
    for number in range(20):
        tracker.emit(name, {{"n": number}})
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]
"""
RULES = Path(__file__).parents[1] / "src" / "eventtracking_prometheus" / "alerts.yml"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number


def read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as answer:
        text: str = answer.read().decode()
        return text


class Site:
    """gunicorn with preload and four workers, and a Prometheus that scrapes it each second."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.web, self.metrics, self.prometheus = free_port(), free_port(), free_port()
        self.blocked = folder / "blocked"
        self.blocked.write_text("in the way")
        below = {
            "good": {"plugin": "sqlite", "path": str(folder / "good.db")},
            "bad": {
                "plugin": "sqlite",
                "path": str(self.blocked / "bad.db"),
                "processors": [{"plugin": "name_filter", "names": ["poison"]}],
            },
        }
        disk = {
            "plugin": "buffer", "storage": "disk", "path": str(folder / "buffer"),
            "max_attempts": 1, "retry_base_s": 0.05,
        }  # fmt: skip
        observer = {
            "plugin": "prometheus", "port": self.metrics, "folder": str(folder / "metrics"),
        }  # fmt: skip
        self.config = {
            "observers": [observer],
            "backends": {
                "direct": {"plugin": "sqlite", "path": str(folder / "direct.db")},
                "disk": {**disk, "backends": below},
            },
        }
        (folder / "config.json").write_text(json.dumps(self.config))
        (folder / "site_app.py").write_text(APPLICATION.format(config=str(folder / "config.json")))
        self.folder = folder
        self._run(stack, [
            sys.executable, "-m", "gunicorn", "--preload", "--workers=4", "--log-level=critical",
            f"--bind=127.0.0.1:{self.web}", f"--chdir={folder}", "site_app:application",
        ])  # fmt: skip
        (folder / "prometheus.yml").write_text(
            "global: {scrape_interval: 1s, evaluation_interval: 1s}\n"
            f"rule_files: [{RULES}]\n"
            "scrape_configs:\n- job_name: site\n  static_configs:\n"
            f"  - targets: ['127.0.0.1:{self.metrics}']\n"
        )
        self._run(stack, [
            "prometheus", f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'tsdb'}", "--log.level=error",
            f"--web.listen-address=127.0.0.1:{self.prometheus}",
        ])  # fmt: skip

    def _run(self, stack: ExitStack, command: list[str]) -> None:
        process = subprocess.Popen(command, cwd=self.folder)

        def end() -> None:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

        stack.callback(end)

    def emit(self, name: str) -> int:
        """Emit twenty events; return the worker that did."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with suppress(OSError):  # a worker is killed, or does not listen yet
                return int(read(f"http://127.0.0.1:{self.web}/{name}"))
            time.sleep(0.02)
        raise AssertionError("the site does not answer")

    def ask(self, query: str) -> dict[str, float]:
        """Ask Prometheus; values by route and outcome."""
        asked = urllib.parse.urlencode({"query": query})
        found = read(f"http://127.0.0.1:{self.prometheus}/api/v1/query?{asked}")
        return {
            f"{one['metric'].get('route', '')} {one['metric'].get('outcome', '')}".strip(): float(
                one["value"][1]
            )
            for one in json.loads(found)["data"]["result"]
        }

    def until(self, query: str, route: str, expected: float) -> None:
        deadline, found = time.monotonic() + 60, None
        while time.monotonic() < deadline:
            with suppress(OSError):
                found = self.ask(query).get(route)
            if found == expected:
                return
            time.sleep(0.2)
        raise AssertionError(f"{query} of {route!r} is {found}, not {expected}")


@pytest.fixture
def site(tmp_path: Path, prometheus: str) -> Iterator[Site]:
    """The site, and its Prometheus."""
    with ExitStack() as stack:
        yield Site(tmp_path, stack)


@pytest.mark.service
@pytest.mark.timeout(180)
def test_counters_never_fall_while_workers_are_killed(site: Site) -> None:
    """Workers are killed under load, dead letters replayed: no counter falls, no law is broken."""
    for _ in range(3):
        site.emit("poison")
    site.until("eventtracking_dead_letters", "disk/bad", 60)
    killed: set[int] = set()
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline or len(killed) < 5:
        worker = site.emit("load")
        if int(time.monotonic() * 2) % 3 == 0 and worker not in killed:
            killed.add(worker)
            os.kill(worker, signal.SIGKILL)
    site.blocked.unlink()
    outside = Tracker.from_config({**site.config, "observers": []})  # it is never opened
    router = next(view.backend for view in outside.routes() if view.path == "disk")
    selection, count = router.letters.freeze()
    assert count == 60
    assert router.letters.replay(selection) == 60
    site.until("eventtracking_dead_letters", "disk/bad", 0)
    site.until("eventtracking_events_pending", "disk", 0)
    time.sleep(3)
    counters = '{__name__=~"eventtracking_.*_total"}'
    assert {key: n for key, n in site.ask(f"resets({counters}[5m])").items() if n} == {}
    assert set(site.ask("max_over_time(eventtracking_events_unaccounted[5m])").values()) == {0.0}
    assert set(site.ask("min_over_time(eventtracking_events_unaccounted[5m])").values()) == {0.0}
    assert site.ask('ALERTS{alertname="EventtrackingUnaccounted"}') == {}
    totals = site.ask("eventtracking_events_total")
    assert totals["disk/bad delivered"] == 60
    assert totals["disk/bad dead_lettered"] == 60
    text: Any = read(f"http://127.0.0.1:{site.metrics}/metrics").encode()
    checked = subprocess.run(["promtool", "check", "metrics"], input=text, check=False)
    assert checked.returncode == 0
