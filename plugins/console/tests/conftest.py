"""A console and an application, as real processes."""

from __future__ import annotations

import asyncio
import http.client
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest

from eventtracking_console.viewer import Viewer, viewer

SCENE = """
import json, sys, time
from eventtracking import Tracker
tracker = Tracker.from_config(json.load(open(sys.argv[1])))
number = 0
while True:
    number += 1
    tracker.emit("<script>alert(1)</script>" if number % 5 == 0 else "edx.tick", {"n": number})
    if number == 1:
        print("ready", flush=True)
    time.sleep(0.02)
"""


DECLARED = """
[events."edx.tick"]
description = "The clock of the tests has ticked."
owner = "learning"
fields.n = { type = "int", description = "The number of the tick.", pii = "none", example = 7 }
"""


class Console:
    """`eventtracking console`, and a browser's manners."""

    def __init__(self, config: Path, *options: str) -> None:
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "eventtracking_cli",
                "console",
                "-c",
                config,
                "--port=0",
                *options,
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()
        parts = urlsplit(self.url)
        assert parts.port is not None
        self.port, self.token = parts.port, parts.query.partition("=")[2]
        self.cookie = ""
        self.attributes: list[str] = []

    def ask(
        self, path: str, method: str = "GET", body: str = "", **headers: str
    ) -> tuple[int, str, http.client.HTTPMessage]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.cookie:
            sent.setdefault("Cookie", self.cookie)
        connection.request(method, path, body=body or None, headers=sent)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, text, answer.headers

    def enter(self) -> None:
        """Open the one-time address."""
        status, _, headers = self.ask(f"/?token={self.token}")
        assert status == 303
        self.cookie, *self.attributes = headers["Set-Cookie"].split("; ")

    def end(self) -> None:
        self.process.terminate()
        self.process.wait(10)
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture(autouse=True)
def _anonymous() -> Iterator[None]:
    """Forget the viewer that a test sets."""
    token = viewer.set(Viewer())
    yield
    viewer.reset(token)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A store, and a buffer on disk above another store."""
    path = tmp_path / "eventtracking.json"
    path.write_text(json.dumps(config_in(tmp_path)))
    return path


def config_in(folder: Path, below: dict[str, Any] | None = None) -> dict[str, Any]:
    store = {"plugin": "sqlite", "path": str(folder / "events.db")}
    lower = below or {"plugin": "sqlite", "path": str(folder / "below.db"), "busy_timeout_s": 0.2}
    disk = {
        "plugin": "buffer",
        "storage": "disk",
        "path": str(folder / "buffer"),
        "max_attempts": 1,
        "retry_base_s": 0.05,
    }
    declared = folder / "declared.toml"
    declared.write_text(DECLARED)
    return {
        "processors": [{"plugin": "catalog", "files": [str(declared)], "unknown_type": "allow"}],
        "observers": [{"plugin": "live", "folder": str(folder / "live")}],
        "backends": {"store": store, "disk": {**disk, "backends": {"below": lower}}},
    }


@pytest.fixture
def start(config: Path) -> Iterator[Callable[..., Console]]:
    """Start consoles."""
    started: list[Console] = []

    def begin(*options: str) -> Console:
        started.append(Console(config, *options))
        return started[-1]

    yield begin
    for console in started:
        console.end()


@pytest.fixture
def application(config: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that emits fifty events a second, one in five full of HTML."""
    process = subprocess.Popen(
        [sys.executable, "-c", SCENE, str(config)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


@pytest.fixture
def ask() -> Callable[..., tuple[int, str, dict[str, str]]]:
    """Send a request to an application of this process."""
    return request


def request(
    app: Any, path: str, form: dict[str, str] | None = None, **scope: Any
) -> tuple[int, str, dict[str, str]]:
    """Send one request to an application of this process: status, text and headers."""
    path, _, query = path.partition("?")
    body = urlencode(form or {}).encode()
    sent: list[dict[str, Any]] = []

    received = iter([{"type": "http.request", "body": body}])

    async def receive() -> Any:
        return next(received, None) or await asyncio.Event().wait()

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": "GET" if form is None else "POST", "path": path,
        "raw_path": path.encode(), "query_string": query.encode(), "root_path": "",
        "headers": [], "client": ("127.0.0.1", 1), "scheme": "http", **scope,
    }  # fmt: skip
    asyncio.run(app(scope, receive, send))
    text = b"".join(message.get("body", b"") for message in sent[1:]).decode()
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], text, headers
