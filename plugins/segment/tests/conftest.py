"""A server on loopback that takes what the real client sends, and misbehaves as it is told."""

from __future__ import annotations

import base64
import gzip
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, Literal

import attrs
import pytest

WRITE_KEY = "k3y-of-the-source"


@attrs.define
class Answer:
    """What the server does with one request. It reads and records it in any case."""

    status: int = 200
    headers: dict[str, str] = attrs.field(factory=dict)
    manner: Literal["whole", "hang", "drop", "half", "drip", "endless", "chunks"] = "whole"
    content: bytes | None = None


@attrs.define
class Request:
    """One request as it came."""

    body: dict[str, Any]
    compressed: bool
    size_bytes: int
    connection: tuple[str, int]

    @property
    def batch(self) -> list[dict[str, Any]]:
        messages: list[dict[str, Any]] = self.body["batch"]
        return messages

    @property
    def ids(self) -> list[str]:
        return [message["messageId"] for message in self.batch]


@attrs.define(eq=False)
class SegmentServer:
    """Records requests. Answers what `answers` says, first to last, then what `decide` says."""

    url: str = ""
    requests: list[Request] = attrs.field(factory=list)
    answers: list[Answer] = attrs.field(factory=list)
    decide: Callable[[Request], Answer] = lambda _request: Answer()
    unauthorized: int = 0
    deaf: bool = False
    """Whether it answers everything with 503, without recording it."""
    released: threading.Event = attrs.field(factory=threading.Event)

    @property
    def accepted(self) -> list[dict[str, Any]]:
        """All messages of all requests, in order."""
        return [message for request in self.requests for message in request.batch]

    def answer(self, request: Request) -> Answer:
        self.requests.append(request)
        return self.answers.pop(0) if self.answers else self.decide(request)


def strict_json(text: bytes) -> Any:
    """Parse as Segment does, not as Python does: NaN is no JSON."""

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


class Handler(BaseHTTPRequestHandler):
    """Answers one connection."""

    protocol_version = "HTTP/1.1"
    segment: ClassVar[SegmentServer]

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        self.respond(self.judge(raw))

    def do_GET(self) -> None:
        self.respond(Answer(200))

    def judge(self, raw: bytes) -> Answer:
        expected = "Basic " + base64.b64encode(f"{WRITE_KEY}:".encode()).decode()
        if self.segment.deaf:
            return Answer(503)
        if self.path != "/v1/batch":
            return Answer(404)
        if self.headers.get("Authorization") != expected:
            self.segment.unauthorized += 1
            return Answer(401)
        compressed = self.headers.get("Content-Encoding") == "gzip"
        text = gzip.decompress(raw) if compressed else raw
        try:
            body = strict_json(text)
        except ValueError:
            return Answer(400)
        return self.segment.answer(Request(body, compressed, len(text), self.client_address))

    def handle(self) -> None:
        with suppress(ConnectionError):  # a client that goes away is what some tests are about
            super().handle()

    def respond(self, answer: Answer) -> None:
        if answer.manner == "hang":
            self.segment.released.wait(30)
        if answer.manner in ("hang", "drop"):
            self.close_connection = True
            return
        content = answer.content or json.dumps({"success": answer.status == 200}).encode()
        if answer.manner == "drip":
            self.drip(content)
            return
        if answer.manner in ("endless", "chunks"):
            self.pour(answer)
            return
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if answer.manner == "half":
            content = content[:3]
            self.close_connection = True
        self.wfile.write(content)

    def drip(self, content: bytes) -> None:
        """Answer a byte at a time, never later than any single read may take."""
        head = (
            f"HTTP/1.1 200 OK\r\nContent-Length: {len(content)}\r\nContent-Type:"
            " application/json\r\n\r\n".encode()
        )
        self.close_connection = True
        with suppress(OSError):
            for byte in head + content:
                self.wfile.write(bytes([byte]))
                if self.segment.released.wait(0.2):
                    return

    def pour(self, answer: Answer) -> None:
        """Answer without an end, until the client has gone away."""
        self.send_response(answer.status)
        in_chunks = answer.manner == "chunks"
        if in_chunks:
            self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.close_connection = True
        part = b"x" * 65_536
        with suppress(OSError):
            while not self.segment.released.is_set():
                self.wfile.write(b"10000\r\n" + part + b"\r\n" if in_chunks else part)

    def log_message(self, *_args: object) -> None:
        """Keep quiet."""


@pytest.fixture
def segment() -> Iterator[SegmentServer]:
    """The server, on a port of its own."""
    server = SegmentServer()
    listener = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"segment": server}))
    listener.daemon_threads = True
    server.url = f"http://127.0.0.1:{listener.server_address[1]}"
    thread = threading.Thread(target=listener.serve_forever, args=(0.05,))
    thread.start()
    yield server
    server.released.set()
    listener.shutdown()
    thread.join()
    listener.server_close()


@pytest.fixture
def nobody() -> str:
    """A URL at which nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


@pytest.fixture
def answer() -> type[Answer]:
    """The class of the server's answers."""
    return Answer


@pytest.fixture
def write_key() -> str:
    """The only write key that the server takes."""
    return WRITE_KEY
