"""One process's connection to MongoDB, which many threads use while any one of them may
close it.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Literal

import attrs
import pymongo
from pymongo import MongoClient, WriteConcern
from pymongo.collection import Collection
from pymongo.errors import OperationFailure, PyMongoError

from eventtracking import DeliveryError
from eventtracking.forks import abandon
from eventtracking_mongo.address import Address

__all__ = ["Connection", "close_client", "new_client"]

_CLOSE_TIMEOUT_S = 1.0
_UNAUTHORIZED = 13
_DRIVER_OPTIONS: dict[str, Any] = {"uuidRepresentation": "standard", "tz_aware": True}
_alive: weakref.WeakSet[Connection] = weakref.WeakSet()
"""Those of this process that are not closed."""

Client = MongoClient[dict[str, Any]]


@attrs.define(eq=False)
class Connection:
    """A client, and how many use it.

    No lock: a signal handler may close it in the middle of a `send` on its own thread.
    """

    collection: Collection[dict[str, Any]]
    max_document_bytes: int
    """The largest document that the server takes."""
    pid: int
    _to_close: list[Client]
    _users: set[object] = attrs.field(factory=set, init=False)
    _closing: bool = attrs.field(default=False, init=False)

    @classmethod
    def made(
        cls,
        address: Address,
        place: tuple[str, str],
        w: Literal["majority", 0, 1],
        timeout_s: float,
    ) -> Connection:
        """Connect to a server that takes writes, and authenticate.

        Raises:
            PyMongoError: If that fails.
            DeliveryError: If the driver refuses the options.
        """
        client = new_client(address, timeout_s)
        try:
            hello = client.admin.command(
                "hello"
            )  # a connection is authenticated before its first command
            _check_user(client, place[0])
            collection = client[place[0]].get_collection(
                place[1], write_concern=_write_concern(client, w)
            )
        except BaseException:
            close_client(client)
            raise
        connection = cls(collection, int(hello["maxBsonObjectSize"]), os.getpid(), [client])
        _alive.add(connection)
        return connection

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep the client open for the length of a block.

        Raises:
            DeliveryError: If it is closed.
        """
        user = object()
        self._users.add(user)
        try:
            if self._closing:
                raise DeliveryError("the mongo backend is closed")
            yield
        finally:
            self._users.discard(user)
            if self._closing:
                self.close()

    def close(self) -> None:
        """Close the client once; if it is in use, the last user does it."""
        self._closing = True
        if not self._users:
            with suppress(IndexError):  # a list's pop is atomic, so that exactly one closes
                close_client(self._to_close.pop())
                _alive.discard(self)


def new_client(address: Address, timeout_s: float) -> Client:
    """Make a client; it connects when it is used.

    What it does in the background, such as asking the DNS, is limited too, unless the address says
    how.
    """
    limit = {} if address.limits_connecting else {"connectTimeoutMS": max(1, int(timeout_s * 1000))}
    try:
        return MongoClient(**{**address.arguments, **_DRIVER_OPTIONS, **limit})
    except PyMongoError:
        raise
    except Exception as error:  # noqa: BLE001 - a missing file of certificates, a wrong value: told without the driver's text
        text = (
            f"pymongo cannot make a client for {address} ({type(error).__name__}): check `uri` and"
            " `extra`"
        )
    raise DeliveryError(text)


def _check_user(client: Client, database: str) -> None:
    """Find out whether the server wants a user and has been given none, with a command that any
    user may send.

    Raises:
        OperationFailure: If so.
    """
    mine: dict[str, Any] = {
        "nameOnly": True,
        "authorizedDatabases": True,
        "filter": {"name": database},
    }
    try:
        client.admin.command("listDatabases", **mine)
    except OperationFailure as error:
        if error.code == _UNAUTHORIZED:
            raise  # otherwise it is a server that has no such command: inserting will show


def _write_concern(client: Client, w: Literal["majority", 0, 1]) -> WriteConcern:
    """Take what the address says of a journal, and the `w` of the option.

    A majority is told to wait for the journal, so that the promise does not rest on how the replica
    set was configured. (`fsync` waits for more, and excludes it.)
    """
    given = {name: value for name, value in client.write_concern.document.items() if name != "w"}
    journal = {"j": True} if w == "majority" and not given.get("fsync") else {}
    return WriteConcern(w=w, **{**journal, **given})


def close_client(client: Client) -> None:
    """Close a client, within a second."""
    with pymongo.timeout(_CLOSE_TIMEOUT_S):  # it says goodbye to the server, which may not listen
        client.close()


def _abandon_inherited() -> None:
    """In a forked child, keep the parent's connections: to collect one would harm the parent's."""
    for connection in list(_alive):
        abandon(connection)
    _alive.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_abandon_inherited)
