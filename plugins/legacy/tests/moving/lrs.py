"""A store of statements: an HTTP server that keeps them, and answers as an LRS does."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

__all__ = ["Store", "serving"]


class Store:
    """The statements that have arrived, by kind."""

    def __init__(self) -> None:
        self.url = ""
        self.lock = threading.Lock()
        self.requests = 0
        self.xapi: list[Any] = []
        self.caliper: list[Any] = []

    def take(self, path: str, body: Any) -> Any:
        """Keep the statements of one request; return the answer."""
        found = body if isinstance(body, list) else [body]
        with self.lock:
            self.requests += 1
            if path.startswith("/xapi/"):
                self.xapi += found
                return [statement.get("id") for statement in found]
            self.caliper += found
        return {}


@contextmanager
def serving() -> Iterator[Store]:
    """Serve on a free port of the loopback for the length of a `with` block."""
    store = Store()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            body = json.loads(self.rfile.read(length) or b"null")
            reply = json.dumps(store.take(self.path, body)).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("X-Experience-API-Version", "1.0.3")
            self.send_header("Content-Length", str(len(reply)))
            self.end_headers()
            self.wfile.write(reply)

        do_POST = do_PUT = answer  # noqa: N815 - the names that the base class calls

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    store.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield store
    finally:
        server.shutdown()
        server.server_close()
