"""The server: one process answers scrapes at a port, for all; another takes over when it ends."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from socketserver import ThreadingMixIn
from typing import Any, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

__all__ = ["MetricsServer"]

_READ_LIMIT_S: Final = 5.0


class _Handler(WSGIRequestHandler):
    timeout = _READ_LIMIT_S
    """A client that sends nothing, or reads nothing, is let go of."""

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name that the base class has
        """Log nothing: a scrape every few seconds is no news."""


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    block_on_close = False

    def server_bind(self) -> None:
        """Bind, without the look-up of the host's name, which may take seconds."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]
        self.setup_environ()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that went away."""


class MetricsServer:
    """Serves a WSGI application from daemon threads.

    Raises:
        OSError: If the port is taken.
    """

    def __init__(self, host: str, port: int, app: Callable[..., Iterable[bytes]]) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        kind = type("_Server", (_Server,), {"address_family": family})
        self._server: _Server = kind((host, port), _Handler)
        self._server.set_app(app)
        self._thread = threading.Thread(
            target=self._server.serve_forever,
            kwargs={"poll_interval": 0.5},
            name="eventtracking-prometheus-server",
            daemon=True,
        )
        self._thread.start()

    def close(self) -> None:
        """Let go of the port, at once."""
        self._server.socket.close()
        with suppress(Exception):
            self._server.shutdown()

    def forget(self) -> None:
        """Close, in a forked child, the parent's listening socket, whose port it would keep."""
        self._server.socket.close()
