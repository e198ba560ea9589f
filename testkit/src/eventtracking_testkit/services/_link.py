"""Carry one connection of a `TcpProxy`: two sockets, and a thread for each direction."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading

import attrs

__all__ = ["Link"]

_CHUNK_BYTES = 65_536
_CONNECT_TIMEOUT_S = 5.0
_LOOK_AGAIN_S = 0.05
"""How long a thread may take to see that its connection was reset."""
_END_TIMEOUT_S = 10.0
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER on, for no time: closing then sends a reset."""


@attrs.define(eq=False)
class Link:
    """One client of the proxy, and its connection to the target once anything may pass.

    Only its own threads touch the sockets; others set `may_pass`, `byte_limit` and `reset()`.
    """

    client: socket.socket
    byte_limit: int | None
    may_pass: threading.Event = attrs.field(factory=threading.Event, init=False)
    _is_reset: bool = attrs.field(default=False, init=False)
    _ended: threading.Event = attrs.field(factory=threading.Event, init=False)

    def run(self, target_port: int) -> None:
        """Carry bytes both ways until both sides have ended, or until the reset."""
        self.may_pass.wait()
        server = None if self._is_reset else _connect(target_port)
        if server is None:
            self._is_reset = True
        else:
            self._carry(server)
        for side in (self.client, server):
            self._close(side)
        self._ended.set()

    def reset(self) -> None:
        """Close both sides as a broken network does, and wait until that is done."""
        self._is_reset = True
        self.may_pass.set()
        self._ended.wait(_END_TIMEOUT_S)

    def _carry(self, server: socket.socket) -> None:
        for side in (self.client, server):
            side.settimeout(_LOOK_AGAIN_S)
        answers = threading.Thread(
            target=self._pump, args=(server, self.client, False), daemon=True
        )
        answers.start()
        self._pump(self.client, server, True)
        answers.join()

    def _pump(self, source: socket.socket, sink: socket.socket, counted: bool) -> None:
        """Carry one direction; an error on either side is the end of both."""
        try:
            while not self._is_reset and (data := self._read(source)):
                self.may_pass.wait()
                self._write(sink, self._allowed(data) if counted else data)
            if not self._is_reset:
                sink.shutdown(socket.SHUT_WR)
        except OSError:
            self._is_reset = True

    def _read(self, source: socket.socket) -> bytes:
        while not self._is_reset:
            with contextlib.suppress(TimeoutError):
                return source.recv(_CHUNK_BYTES)
        return b""

    def _write(self, sink: socket.socket, data: bytes) -> None:
        left = memoryview(data)
        while left and not self._is_reset:
            with contextlib.suppress(TimeoutError):
                left = left[sink.send(left) :]
        if self.byte_limit is not None and self.byte_limit < 0:
            self._is_reset = True

    def _allowed(self, data: bytes) -> bytes:
        """Cut off what is over the limit; a limit below zero then says that there was something."""
        if self.byte_limit is None:
            return data
        allowed = data[: self.byte_limit]
        self.byte_limit -= len(allowed)
        if len(allowed) < len(data):
            self.byte_limit = -1
        return allowed

    def _close(self, side: socket.socket | None) -> None:
        if side is None:
            return
        if self._is_reset:
            with contextlib.suppress(OSError):
                side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        side.close()


def _connect(port: int) -> socket.socket | None:
    try:
        return socket.create_connection(("127.0.0.1", port), _CONNECT_TIMEOUT_S)
    except OSError:
        return None
