"""The sink: an HTTP server that takes whatever an analytics client posts, after a while, and
remembers which events were in it.

It knows no client's format: each event carries a mark of its own in plain text, which JSON, gzip
and protobuf keep as it is.
"""

from __future__ import annotations

import gzip
import re
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

__all__ = ["Sink"]

_MARK: Final = re.compile(rb"evt\d{6}x")
_STILL_S: Final = 0.3


class Sink:
    """Listens on a free port of loopback until it is closed.

    Args:
        latency_s: How long each request takes, before its events count as arrived.
    """

    def __init__(self, latency_s: float) -> None:
        self.latency_s = latency_s
        self.arrivals: Counter[bytes] = Counter()
        self._asked_at = time.monotonic()
        self._busy = 0
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def kept(self) -> int:
        """How many different events have arrived."""
        return len(self.arrivals)

    @property
    def busy(self) -> bool:
        """Whether a request is being answered."""
        return self._busy > 0

    def take(self, body: bytes) -> None:
        """Take the body of a request, slowly."""
        with self._lock:
            self._busy += 1
        time.sleep(self.latency_s)
        with self._lock:
            self.arrivals.update(_MARK.findall(body))
            self._busy -= 1
            self._asked_at = time.monotonic()

    def settle(self) -> int:
        """Wait until nothing comes any more; how many different events have arrived."""
        while self._busy or time.monotonic() - self._asked_at < _STILL_S + self.latency_s:
            time.sleep(0.02)
        return self.kept

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        sink = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                sink.take(body)
                answer = b"" if "protobuf" in self.headers.get("Content-Type", "") else b"{}"
                self.send_response(200)
                self.send_header(
                    "Content-Type", self.headers.get("Content-Type", "application/json")
                )
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the library's
                """Say nothing."""

        return Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that was killed is what is tried here."""
