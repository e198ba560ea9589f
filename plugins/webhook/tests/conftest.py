"""A real HTTP server in a process of its own, told by each test how to behave."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest

from eventtracking_testkit.services._process import free_port
from eventtracking_webhook.backend import WebhookBackend

PROGRAM = Path(__file__).with_name("http_server.py")


@attrs.define(eq=False)
class HttpServer:
    """The server's process, and its record of requests."""

    folder: Path
    arguments: tuple[str, ...] = ()
    port: int = attrs.field(factory=free_port, init=False)
    process: subprocess.Popen[bytes] | None = attrs.field(default=None, init=False)

    @property
    def url(self) -> str:
        scheme = "https" if "--certificate" in self.arguments else "http"
        return f"{scheme}://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [sys.executable, "-I", str(PROGRAM), str(self.folder), "--port", str(self.port)]
        self.process = subprocess.Popen(
            [*command, *self.arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"ready\n"

    def kill(self) -> None:
        """End it as `kill -9` does."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()
        self.process = None

    def requests(self, path: str = "/") -> list[dict[str, Any]]:
        """Return the requests to paths that begin so, in their order."""
        try:
            lines = (self.folder / "requests.jsonl").read_bytes().split(b"\n")[:-1]
        except FileNotFoundError:
            return []
        found = [json.loads(line) for line in lines]
        return [request for request in found if request["path"].startswith(path)]


@attrs.define(eq=False)
class Endpoint:
    """One path of the server, for one test."""

    server: HttpServer
    path: str = attrs.field(factory=lambda: f"/{uuid.uuid4()}")

    @property
    def url(self) -> str:
        return self.server.url + self.path

    def tell(self, **script: Any) -> None:
        """Say how to answer from now on."""
        content = json.dumps(script).encode()
        request = urllib.request.Request(self.url, content, method="PUT")
        urllib.request.urlopen(request).close()

    @property
    def requests(self) -> list[dict[str, Any]]:
        return self.server.requests(self.path)

    @property
    def taken(self) -> list[str]:
        """The ids of the events that were answered with 2xx, once for each time."""
        return [key for request in self.requests for key in request["taken"]]

    @property
    def sizes(self) -> list[int]:
        return [len(request["ids"]) for request in self.requests]


def body(request: Mapping[str, Any]) -> bytes:
    """Return the body of a request, decompressed."""
    return base64.b64decode(request["body"])


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that talk to a server, each of which is a process."""
    for item in items:
        if "start_server" in getattr(item, "fixturenames", ()):
            item.add_marker("process")


@pytest.fixture(scope="session")
def start_server(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[..., HttpServer]]:
    """A function that starts a server with some arguments."""
    made: list[HttpServer] = []

    def start(*arguments: object) -> HttpServer:
        folder = tmp_path_factory.mktemp("server")
        made.append(HttpServer(folder, tuple(map(str, arguments))))
        made[-1].start()
        return made[-1]

    yield start
    for server in made:
        if server.process is not None:
            server.kill()


@pytest.fixture(scope="session")
def server(start_server: Callable[..., HttpServer]) -> HttpServer:
    """The server that all tests share; each has a path of its own."""
    return start_server()


@pytest.fixture
def endpoint(server: HttpServer) -> Endpoint:
    """A path of the shared server."""
    return Endpoint(server)


@pytest.fixture
def make(endpoint: Endpoint) -> Iterator[Callable[..., Any]]:
    """A function that makes an opened backend, for the endpoint unless it names a URL."""
    made: list[WebhookBackend] = []

    def make(**options: Any) -> WebhookBackend:
        made.append(WebhookBackend(**{"url": endpoint.url, "proxy": "", **options}))
        made[-1].open()
        return made[-1]

    yield make
    for backend in made:
        backend.close()


@pytest.fixture
def endpoint_of() -> type[Endpoint]:
    """The class of endpoints, for a server of the test's own."""
    return Endpoint


@pytest.fixture
def body_of() -> Callable[[Mapping[str, Any]], bytes]:
    """The function that reads the body of a request."""
    return body
