"""Stand between a client and a server, and spoil the network between them on demand."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import TypeVar

import attrs
from typing_extensions import Self

from eventtracking_testkit.services._link import Link
from eventtracking_testkit.services._process import free_port

__all__ = ["TcpProxy"]

_JOIN_TIMEOUT_S = 10.0

_T = TypeVar("_T")


@attrs.define(eq=False)
class TcpProxy:
    """A TCP proxy on a free port of 127.0.0.1, with threads of its own, that passes everything
    until told otherwise.

    All its methods may be called from any thread; the state they set counts at once, for open
    connections too:

    - `let_pass()`: everything passes (again); what `hang` and `black_hole` held back passes now.
    - `refuse()`: open connections are cut, and new ones refused.
    - `black_hole()`: connections are accepted, and nothing ever passes, in either direction.
    - `hang()`: nothing more passes on the connections that are open now; new ones work.
    - `cut()`: open connections are reset; new ones work.
    - `cut_after(n)`: each connection is reset once `n` bytes of the client passed, on new ones and
      from now on.

    The port stays its own over all of this, as that of a server that restarts.
    """

    target_port: int
    port: int = attrs.field(factory=free_port, init=False)
    accepted: int = attrs.field(default=0, init=False)
    """How many connections it has accepted."""
    _listener: socket.socket | None = attrs.field(default=None, init=False)
    _threads: list[threading.Thread] = attrs.field(factory=list, init=False)
    _links: set[Link] = attrs.field(factory=set, init=False)
    _lock: threading.Lock = attrs.field(factory=threading.Lock, init=False)
    _stalls_new: bool = attrs.field(default=False, init=False)
    _byte_limit: int | None = attrs.field(default=None, init=False)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def address(self) -> str:
        """Where it listens, as `127.0.0.1:port`."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Listen; nothing happens if it does."""
        with self._lock:
            if self._listener is not None:
                return
            self._listener = listener = socket.create_server(("127.0.0.1", self.port), backlog=128)
        self._run(self._accept, listener)

    def let_pass(self) -> None:
        """Pass everything, and what was held back first."""
        with self._lock:
            self._byte_limit, self._stalls_new = None, False
        for link in self._open_links():
            link.byte_limit = None
            link.may_pass.set()
        self.start()

    def refuse(self) -> None:
        """Cut open connections, and refuse new ones."""
        self._stop_listening()
        self.cut()

    def black_hole(self) -> None:
        """Accept connections, and pass nothing on any of them."""
        with self._lock:
            self._stalls_new = True
        self.hang()
        self.start()

    def hang(self) -> None:
        """Pass nothing more on the connections that are open now."""
        for link in self._open_links():
            link.may_pass.clear()

    def cut(self) -> None:
        """Reset the open connections, and wait until they are."""
        for link in self._open_links():
            link.reset()

    def cut_after(self, client_bytes: int) -> None:
        """Reset each connection once that many bytes of its client passed, counted from now on.

        Args:
            client_bytes: How many bytes still pass; 0 resets at the first one.
        """
        self._byte_limit = client_bytes
        for link in self._open_links():
            link.byte_limit = client_bytes

    def close(self) -> None:
        """Cut everything, free the port and end its threads. Doing it twice is fine."""
        self.refuse()
        for thread in self._threads:
            thread.join(_JOIN_TIMEOUT_S)
        self._threads.clear()

    # Machinery

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:  # the listener was closed
                return
            self._take(client, listener)

    def _take(self, client: socket.socket, listener: socket.socket) -> None:
        link = Link(client, self._byte_limit)
        with self._lock:
            self.accepted += 1
            self._links.add(link)
            if not self._stalls_new:
                link.may_pass.set()
            refusing = self._listener is not listener
        self._run(self._serve, link)
        if refusing:
            link.reset()

    def _serve(self, link: Link) -> None:
        try:
            link.run(self.target_port)
        finally:
            with self._lock:
                self._links.discard(link)

    def _run(self, work: Callable[[_T], None], argument: _T) -> None:
        thread = threading.Thread(
            target=work, args=(argument,), name=f"tcp-proxy-{self.port}", daemon=True
        )
        thread.start()
        with self._lock:
            self._threads = [*(other for other in self._threads if other.is_alive()), thread]

    def _open_links(self) -> list[Link]:
        with self._lock:
            return list(self._links)

    def _stop_listening(self) -> None:
        with self._lock:
            listener, self._listener = self._listener, None
        if listener is not None:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # wakes the thread in accept()
            listener.close()
