"""A server that takes webhooks, in a process of its own, and misbehaves as it is told.

Run with a folder: it appends each request to `requests.jsonl` there before it answers, so that the
record outlives `kill -9`. `PUT` at a path tells how to answer the `POST`s that come to it. With
`--proxy` it is an HTTP proxy too. It ends with its standard input.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import json
import os
import select
import socket
import ssl
import sys
import threading
import time
import urllib.parse
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar


class Script:
    """How to answer the requests to one path: what `answers` says, first to last, then `always`."""

    def __init__(self, told: dict[str, Any] | None = None) -> None:
        told = told or {}
        self.answers: list[dict[str, Any]] = told.get("answers", [])
        self.always: dict[str, Any] = told.get("always", {"status": 200})
        self.most: int | None = told.get("most")
        """The most events of a request; 413 above."""
        self.partial: bool = told.get("partial", False)
        """Whether each tenth event is wanted again when it first comes, and a bad one refused."""
        self.seen: set[str] = set()
        self.lock = threading.Lock()

    def answer(self, events: list[dict[str, Any]]) -> dict[str, Any]:
        with self.lock:
            if self.answers:
                return self.answers.pop(0)
            if self.most is not None and len(events) > self.most:
                return {"status": 413}
            return self._judge(events) if self.partial else self.always

    def _judge(self, events: list[dict[str, Any]]) -> dict[str, Any]:
        first = [e["id"] for e in events if e["id"] not in self.seen]
        self.seen.update(first)
        bad = [e["id"] for e in events if e["data"].get("bad")]
        again = [key for key in first[::10] if key not in bad]
        body = {"retry": again, "rejected": bad}
        return {"status": 207, "body": body} if again or bad else {"status": 200}


class Handler(BaseHTTPRequestHandler):
    """Answers one connection."""

    protocol_version = "HTTP/1.1"
    timeout = 60
    record: ClassVar[Path]
    scripts: ClassVar[dict[str, Script]] = {}
    lock: ClassVar[threading.Lock] = threading.Lock()
    is_partial: ClassVar[bool] = False
    is_proxy: ClassVar[bool] = False
    drips_tunnels: ClassVar[bool] = False

    def do_PUT(self) -> None:
        """Take a script for this path."""
        self.scripts[self.path] = Script(json.loads(self.content()))
        self.answer({"status": 204})

    def do_GET(self) -> None:
        """Record a request that nothing should make: a redirect that was followed."""
        self.note("GET", b"", [], 200)
        self.answer({"status": 200})

    def do_POST(self) -> None:
        """Record events, and answer as told."""
        if self.is_proxy and self.path.startswith("http://"):
            self.forward()
            return
        raw = self.content()
        body = gzip.decompress(raw) if self.headers.get("content-encoding") == "gzip" else raw
        events = events_in(body, self.headers.get("content-type", ""))
        path = urllib.parse.urlsplit(self.path).path
        script = self.scripts.setdefault(path, Script({"partial": self.is_partial}))
        told = script.answer(events)
        status = told.get("status", 200)
        lists = told.get("body", {}) if script.partial else {}
        left = [key for keys in lists.values() for key in keys]
        taken = [e["id"] for e in events if 200 <= status < 300 and e["id"] not in left]
        self.note("POST", body, taken, status, [e["id"] for e in events])
        self.answer(told)

    def content(self) -> bytes:
        return self.rfile.read(int(self.headers["content-length"]))

    def note(
        self, method: str, body: bytes, taken: list[str], status: int, ids: list[str] | None = None
    ) -> None:
        request = {
            "method": method,
            "path": self.path,
            "headers": {name.lower(): value for name, value in self.headers.items()},
            "body": base64.b64encode(body).decode(),
            "ids": ids or [],
            "taken": taken,
            "status": status,
            "client": self.client_address[1],
            "at": time.time(),
        }
        with self.lock, self.record.open("ab", buffering=0) as file:
            file.write(json.dumps(request).encode() + b"\n")  # one write: no part of a line is left

    def answer(self, told: dict[str, Any]) -> None:
        manner = told.get("manner", "whole")
        if manner in ("hang", "drop"):
            if manner == "hang":
                time.sleep(60)
            self.close_connection = True
            return
        body = told.get("body", {})
        content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        length = told.get("length", len(content))
        head = f"HTTP/1.1 {told['status']} Told\r\nContent-Length: {length}\r\n"
        head += "".join(f"{k}: {v}\r\n" for k, v in told.get("headers", {}).items()) + "\r\n"
        self.close_connection = manner != "whole" or length != len(content)
        with suppress(OSError):
            self.send_in(manner, head.encode(), content)

    def send_in(self, manner: str, head: bytes, content: bytes) -> None:
        if manner == "endless":
            self.wfile.write(head)
            while True:
                self.wfile.write(b" " * 65_536)
        quick, slow = {"drip": (b"", head + content), "drip_body": (head, content)}.get(
            manner, (head + content, b"")
        )
        self.wfile.write(quick)
        for byte in slow:
            self.wfile.write(bytes([byte]))
            time.sleep(0.05)

    # As a proxy

    def do_CONNECT(self) -> None:
        """Open a tunnel; record who asked for it."""
        self.note("CONNECT", b"", [], 200)
        if self.drips_tunnels:
            self.answer({"status": 200, "manner": "drip", "headers": {"X-Long": "x" * 2000}})
            return
        host, port = self.path.rsplit(":", 1)
        with socket.create_connection((host, int(port)), 10) as other:
            self.wfile.write(b"HTTP/1.1 200 Connected\r\n\r\n")
            relay(self.connection, other)
        self.close_connection = True

    def forward(self) -> None:
        """Pass a request on, and record who asked for it."""
        self.note("FORWARD", b"", [], 200)
        url = urllib.parse.urlsplit(self.path)
        body = self.content()
        lines = [f"POST {url.path} HTTP/1.1", *(f"{k}: {v}" for k, v in self.headers.items())]
        request = "\r\n".join(lines).encode() + b"\r\nConnection: close\r\n\r\n" + body
        with socket.create_connection((str(url.hostname), url.port or 80), 10) as other:
            other.sendall(request)
            while part := other.recv(65_536):
                self.wfile.write(part)
        self.close_connection = True

    def handle(self) -> None:
        with suppress(OSError):  # a client that goes away is what some tests are about
            super().handle()

    def log_message(self, *_args: object) -> None:
        """Keep quiet."""


def events_in(body: bytes, kind: str) -> list[dict[str, Any]]:
    """Return the events of a body, whichever its form."""
    if "ndjson" in kind:
        return [json.loads(line) for line in body.decode().split("\n") if line]
    found = json.loads(body)
    if "cloudevents" in kind:
        return [e["data"] for e in (found if "batch" in kind else [found])]
    return list(found)


def relay(one: socket.socket, other: socket.socket) -> None:
    """Pass bytes both ways until one side ends."""
    while True:
        for ready in select.select([one, other], [], [])[0]:
            part = ready.recv(65_536)
            if not part:
                return
            (other if ready is one else one).sendall(part)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, *_: object) -> None:
        """Keep quiet: a client that does not trust the certificate ends the connection."""


def main() -> None:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--certificate", type=Path, help="a PEM file with the key")
    parser.add_argument("--partial", action="store_true", help="see `Script.partial`")
    parser.add_argument("--proxy", action="store_true")
    parser.add_argument("--drip-tunnels", action="store_true")
    told = parser.parse_args()
    Handler.record = told.folder / "requests.jsonl"
    Handler.is_partial, Handler.is_proxy = told.partial, told.proxy
    Handler.drips_tunnels = told.drip_tunnels
    server = Server(("127.0.0.1", told.port), Handler)
    if told.certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(told.certificate)
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    print("ready", flush=True)
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main()
