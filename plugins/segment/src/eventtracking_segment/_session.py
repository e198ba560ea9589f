"""The client's HTTP session, on our terms while a request of ours is under way: one deadline, no
redirects, no foreign credentials, a bounded answer.

The client shares one session with whatever else of the application uses it; what other threads send
through it is left as it is.
"""

from __future__ import annotations

import http.client
import io
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

__all__ = ["LongAnswerError", "new_session", "until"]

_POOL_SIZE: Final = 32
"""Connections that are kept for as many threads; more are made and closed again."""
_LONGEST_ANSWER: Final = 16 * 1024
"""Bytes of an answer that are read. Segment's own has some 20."""


class LongAnswerError(Exception):
    """Raised when a good answer is too long to be Segment's."""


class _Terms(threading.local):
    """What holds for the requests of this thread."""

    deadline: float | None = None
    """Of the monotonic clock; None while no request of ours is under way."""

    def left_s(self) -> float | None:
        """Return how much time is left, if there is a limit.

        Raises:
            TimeoutError: If there is none left.
        """
        if self.deadline is None:
            return None
        left_s = self.deadline - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("timed out")
        return left_s


_terms: Final = _Terms()


@contextmanager
def until(deadline: float) -> Iterator[None]:
    """Hold this thread's requests to our terms for the length of a block."""
    _terms.deadline = deadline
    try:
        yield
    finally:
        _terms.deadline = None


def new_session() -> requests.Session:
    """Make a session that knows our terms."""
    session = _Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, _Adapter(pool_connections=_POOL_SIZE, pool_maxsize=_POOL_SIZE))
    return session


class _Session(requests.Session):
    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Follow no redirect with a request of ours: the events and the write key would go to
        somebody else.
        """
        return super().get_redirect_target(resp) if _terms.deadline is None else None

    def prepare_request(self, request: requests.Request) -> requests.PreparedRequest:
        """Leave the credentials as the client has set them: requests would put those of a .netrc
        file in their place.
        """
        if _terms.deadline is not None and request.auth is None:
            request.auth = _unchanged
        return super().prepare_request(request)


def _unchanged(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


# A read of a socket has a time limit of its own, so that a server that sends a byte now and then is
# never late. Here each read has what is left until the deadline.


class _Reader(io.RawIOBase):
    """What comes from a socket, until the deadline."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._stream = sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left_s = _terms.left_s()
        if left_s is not None:
            self._socket.settimeout(left_s)
        return self._stream.readinto(buffer)

    def close(self) -> None:
        self._stream.close()
        super().close()


class _Response(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp.close()
        self.fp = io.BufferedReader(_Reader(sock))


class _Timed(HTTPConnection):
    """A connection whose addresses share the time for connecting; by default each of them has all
    of it.
    """

    response_class = _Response

    def _new_conn(self) -> socket.socket:
        left_s = _terms.left_s()
        if left_s is None:
            return super()._new_conn()
        given, self.timeout = self.timeout, left_s / _count_addresses(self._dns_host, self.port)
        try:
            return super()._new_conn()
        finally:
            self.timeout = given


def _count_addresses(host: str, port: int) -> int:
    try:
        return len(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)) or 1
    except OSError:  # connecting will say what is wrong with the name
        return 1


class _TimedTls(_Timed, HTTPSConnection):
    """The same, with TLS."""


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Timed


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TimedTls


_POOLS: Final = {"http": _Pool, "https": _TlsPool}


class _Adapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = _POOLS
        return manager

    def send(self, *args: Any, **kwargs: Any) -> requests.Response:
        """Read a bounded part of the answer, still compressed, instead of all of it, unpacked.

        Raises:
            LongAnswerError: If a good answer is too long to be Segment's. A bad one has a status.
        """
        response = super().send(*args, **kwargs)
        if _terms.deadline is not None:
            response.raw.enforce_content_length = True  # urllib3 1.26 takes half an answer
            content = _read_bounded(response.raw)
            if len(content) > _LONGEST_ANSWER and response.ok:
                raise LongAnswerError
            response.raw = io.BytesIO(content)
        return response


def _read_bounded(answer: Any) -> bytes:
    """Read an answer to its end, so that its connection serves again, or a bit past the limit."""
    content = bytearray()
    try:
        for part in answer.stream(_LONGEST_ANSWER + 1, decode_content=False):
            content += part
            if len(content) > _LONGEST_ANSWER:
                answer.close()
                return bytes(content)
    except BaseException:
        answer.close()
        raise
    answer.release_conn()
    return bytes(content)
