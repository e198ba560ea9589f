"""The observer `live`: a Unix socket that tells how the tracker of this process stands."""

from __future__ import annotations

import logging
import os
import socket
import struct
import threading
import weakref
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import attrs
import msgspec

from eventtracking import OptionsError, Tracker
from eventtracking_live.folder import MAX_SOCKET_BYTES, Place, default_folder, longest_path
from eventtracking_live.letters import letters_of
from eventtracking_live.state import state_of
from eventtracking_live.tapping import serve_tap

__all__ = ["LiveObserver"]

_log = logging.getLogger("eventtracking.live")
_MAX_REQUEST_BYTES: Final = 65_536
_MAX_CLIENTS: Final = 32
_TIMEOUT_S: Final = 5.0


class Request(msgspec.Struct):
    """One question."""

    ask: str
    skip: list[str] = msgspec.field(default_factory=list)
    route: str = ""
    before: bool = False
    name: str = ""
    fields: dict[str, str] = msgspec.field(default_factory=dict)
    letters: dict[str, Any] = msgspec.field(default_factory=dict)


@attrs.define(eq=False, kw_only=True)
class LiveObserver:
    """Let `eventtracking top` and `eventtracking tap` look into the running process.

    A Unix socket in a folder that only the same user, and root, may enter.
    """

    folder: str | None = attrs.field(
        default=None,
        metadata={"help": "The folder of the sockets, of mode 0700; by default a private one."},
    )
    _place: Place | None = attrs.field(init=False, default=None, repr=False)
    _listener: socket.socket | None = attrs.field(init=False, default=None, repr=False)
    _clients: set[socket.socket] = attrs.field(init=False, factory=set, repr=False)

    def __attrs_post_init__(self) -> None:
        if longest_path(self.sockets) > MAX_SOCKET_BYTES:
            raise OptionsError(
                {"folder": f"the path of a socket in it would exceed {MAX_SOCKET_BYTES} bytes"}
            )

    @property
    def sockets(self) -> Path:
        """The folder of the sockets."""
        folder = Path(self.folder) if self.folder else default_folder()
        return folder.expanduser().absolute()

    def start(self, tracker: Tracker) -> None:
        """Listen, on a thread of its own.

        Raises:
            Exception: If the folder cannot be used.
        """
        self._place = Place.take(self.sockets)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(self._place.socket))
        self._listener.listen(_MAX_CLIENTS)
        _running.add(self)
        threading.Thread(
            target=self._accept,
            args=(self._listener, tracker),
            name="eventtracking-live",
            daemon=True,
        ).start()

    def close(self) -> None:
        """Stop listening, and let go of every client."""
        _running.discard(self)
        listener, self._listener = self._listener, None
        if listener is not None:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        for client in list(self._clients):
            with suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
        if self._place is not None:
            self._place.leave()
            self._place = None

    def _accept(self, listener: socket.socket, tracker: Tracker) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return  # closed
            if len(self._clients) >= _MAX_CLIENTS or not _may_connect(client):
                client.close()
                continue
            self._clients.add(client)
            threading.Thread(
                target=self._serve,
                args=(client, tracker),
                name="eventtracking-live-client",
                daemon=True,
            ).start()

    def _serve(self, client: socket.socket, tracker: Tracker) -> None:
        try:
            with client:
                client.settimeout(_TIMEOUT_S)
                answer(client, _read_request(client), tracker)
        except OSError:
            pass  # it went away, or reads nothing
        except Exception as error:  # noqa: BLE001 - a client's mistake must not end in the log of the application as a traceback
            _log.warning("live: a request failed (%s)", type(error).__name__)
        finally:
            self._clients.discard(client)

    def _forget(self) -> None:
        """Let go, in a forked child, of the parent's sockets."""
        for held in (self._listener, *self._clients):
            if held is not None:
                held.close()
        if self._place is not None:
            self._place.forget()
        self._listener = self._place = None
        self._clients = set()


def answer(client: socket.socket, request: Request, tracker: Tracker) -> None:
    """Answer one request.

    Raises:
        OSError: If the client went away, or reads nothing.
    """
    if request.ask == "state":
        client.sendall(msgspec.json.encode(state_of(tracker, request.skip)) + b"\n")
    elif request.ask == "letters":
        found = letters_of(tracker, request.letters)
        client.sendall(msgspec.json.encode(found, enc_hook=str) + b"\n")
    elif request.ask == "tap":
        serve_tap(client, tracker, request)
    else:
        client.sendall(msgspec.json.encode({"error": f"unknown: {request.ask}"}) + b"\n")


def _may_connect(client: socket.socket) -> bool:
    """Whether the client is of the same user, or root."""
    credentials = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _pid, user, _group = struct.unpack("3i", credentials)
    return user in (os.getuid(), 0)


def _read_request(client: socket.socket) -> Request:
    content = b""
    while not content.endswith(b"\n"):
        part = client.recv(4096)
        content += part
        if not part or len(content) > _MAX_REQUEST_BYTES:
            raise OSError("no request")
    return msgspec.json.decode(content, type=Request)


_running: weakref.WeakSet[Any] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for observer in list(_running):
        observer._forget()
    _running.clear()


os.register_at_fork(after_in_child=_after_fork_in_child)
