"""HTTP on our terms: one deadline for a whole `send`, bounded answers, and no lock to be caught in.

A socket's time limit starts anew with each byte, so that a server which sends one now and then is
never late. Here each wait ends at the deadline of its thread.
"""

from __future__ import annotations

import http.client
import io
import logging
import os
import queue
import socket
import ssl
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.util import Url, make_headers, parse_url

from eventtracking import DeliveryError
from eventtracking_webhook._message import Answer

__all__ = ["Client", "credentials_of", "proxy_for", "read_url"]

_MAX_ANSWER_BYTES: Final = 1_000_000
_DRAIN_S: Final = 1.0
"""For the body of an answer whose status says all; past it, the connection is given up."""
_ERRORS: Final = (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError)
_TERMS: Final[dict[str, Any]] = {"redirect": False, "retries": False, "preload_content": False}
_LOGGERS: Final = ("urllib3.connectionpool", "urllib3.connection", "urllib3.util.retry")


def read_url(text: str) -> Url:
    """Take a URL apart.

    Raises:
        ValueError: If nothing can be sent there. Its text does not repeat the URL.
    """
    with suppress(urllib3.exceptions.LocationParseError):
        url = parse_url(text)
        if url.scheme in ("http", "https") and url.host and text.isprintable() and " " not in text:
            return url
    raise ValueError("must be a URL such as https://host/path, blanks and the like as %20")


def credentials_of(url: Url) -> str | None:
    """Return `user:password` of a URL, decoded."""
    return None if url.auth is None else unquote(url.auth)


class _Terms(threading.local):
    deadline: float | None = None
    """Of the monotonic clock; None while this thread makes no request of ours."""


_terms: Final = _Terms()


@contextmanager
def _until(deadline: float) -> Iterator[None]:
    before, _terms.deadline = _terms.deadline, deadline
    try:
        yield
    finally:
        _terms.deadline = before


def _left_s(limit_s: float) -> float:
    """Return the time for the next wait.

    Raises:
        TimeoutError: If the deadline has passed.
    """
    left_s = limit_s if _terms.deadline is None else _terms.deadline - time.monotonic()
    if left_s <= 0:
        raise TimeoutError
    return min(left_s, limit_s)


def _is_foreign(_record: logging.LogRecord) -> bool:
    """Drop log records of our requests: urllib3 writes path and query into them."""
    return _terms.deadline is None


class _Reader(io.RawIOBase):
    def __init__(self, sock: socket.socket) -> None:
        self._sock, self._raw = sock, sock.makefile("rb", buffering=0)
        self._limit_s = sock.gettimeout() or 0.0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(_left_s(self._limit_s))
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp.close()
        self.fp = io.BufferedReader(_Reader(sock))


class _Connection(HTTPConnection):
    response_class = _Response
    """A proxy's answer to CONNECT is read with it, too."""

    def _new_conn(self) -> socket.socket:
        """Connect; the addresses of a host share the time."""
        limit_s = float(self.timeout or 0.0)
        self.timeout = _left_s(limit_s)
        with suppress(OSError):  # connecting tells what is wrong with the name
            addresses = socket.getaddrinfo(self._dns_host, self.port, type=socket.SOCK_STREAM)
            self.timeout /= len(addresses)
        sock = super()._new_conn()
        with suppress(TimeoutError):  # the next wait tells; a socket that is lost here stays open
            sock.settimeout(_left_s(limit_s))  # for the handshake of TLS
        return sock

    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()
        self.sock.settimeout(_left_s(float("inf")))
        super().send(data)


class _TlsConnection(_Connection, HTTPSConnection):
    """The same, with TLS."""


def _idle(_maxsize: int) -> queue.SimpleQueue[Any]:
    """Hold idle connections without a lock that a signal handler or a fork could find taken."""
    return queue.SimpleQueue()


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Connection
    QueueCls = staticmethod(_idle)  # type: ignore[assignment]  # urllib3 only calls it


class _TlsPool(_Pool, urllib3.HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


class Client:
    """The connections of one process to one URL."""

    def __init__(self, url: Url, proxy: Url | None, ca_file: Path | None) -> None:
        self.pid, self.place = os.getpid(), f"{url.scheme}://{url.netloc}"
        self.is_gone, self._address = False, url._replace(auth=None, fragment=None).url
        """`is_gone`: whether the endpoint has answered 410."""
        options: dict[str, Any] = {"maxsize": 1, "ssl_context": _context(ca_file)}
        if proxy is None:
            self._manager = urllib3.PoolManager(**options)
        else:
            headers = make_headers(proxy_basic_auth=credentials_of(proxy))
            options |= {"proxy_headers": headers, "proxy_ssl_context": options["ssl_context"]}
            self._manager = urllib3.ProxyManager(proxy._replace(auth=None).url, **options)
        self._manager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}
        for name in _LOGGERS:
            logging.getLogger(name).addFilter(_is_foreign)  # a second time changes nothing

    def post(
        self, body: bytes, headers: Mapping[str, str], timeout: urllib3.Timeout, deadline: float
    ) -> Answer:
        """Send a request, and read its answer up to a limit.

        Raises:
            DeliveryError: If there was none.
        """
        try:
            with _until(deadline):
                request: dict[str, Any] = {"body": body, "headers": headers, "timeout": timeout}
                response = self._manager.urlopen("POST", self._address, **request, **_TERMS)
        except _ERRORS as error:
            told = _told(error, time.monotonic() >= deadline)
        else:
            last = deadline if response.status == 207 else time.monotonic() + _DRAIN_S
            with _until(min(last, deadline)):
                content = _read(response)
            return Answer(response.status, response.headers.get("retry-after", ""), content)
        # outside the handler: the error's text holds the URL, and it would be the context
        raise DeliveryError(f"webhook at {self.place}: {told}")


def _read(response: urllib3.BaseHTTPResponse) -> bytes | None:
    """Read a body; one that breaks off or is too long ends the connection."""
    content = b""
    with suppress(*_ERRORS):
        for part in response.stream(65_536, decode_content=False):
            content += part
            if len(content) > _MAX_ANSWER_BYTES:
                break
        else:
            response.release_conn()
            return content
    response.close()
    return None


def proxy_for(url: Url, given: str | None) -> Url | None:
    """Return the proxy: the one given, else that of the environment; empty means none.

    Raises:
        DeliveryError: If the environment names no HTTP proxy.
    """
    proxy = given
    if given is None and not urllib.request.proxy_bypass(str(url.host).strip("[]")):
        known = urllib.request.getproxies()
        proxy = known.get(str(url.scheme)) or known.get("all")
    try:
        return read_url(proxy) if proxy else None
    except ValueError:
        raise DeliveryError("webhook: unusable proxy in the environment; set `proxy`") from None


def _context(ca_file: Path | None) -> ssl.SSLContext:
    """Return the terms of TLS: certificates are checked, against `ca_file` alone if it is given.

    Raises:
        DeliveryError: If that file cannot be read.
    """
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:  # an SSLError, too
        name = type(error).__name__
        raise DeliveryError(f"webhook: ca_file {str(ca_file)!r} cannot be read ({name})") from None


def _told(error: Exception, too_late: bool) -> str:
    """Say what kept a request from being answered, without the error's text."""
    hint = "`timeout_s` has passed" if too_late else "it may be tried again"
    if isinstance(error, urllib3.exceptions.SSLError | urllib3.exceptions.ProxyError):
        hint = "check `ca_file` and `proxy`"
    return f"no answer ({type(error).__name__}); {hint}"
