"""Start a real MongoDB: plain, or as a replica set of one node."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from eventtracking_testkit.services._binaries import find_mongod
from eventtracking_testkit.services._server import Server
from eventtracking_testkit.services.errors import ServiceUnavailableError

if TYPE_CHECKING:
    from pymongo import MongoClient

__all__ = ["MongoServer"]

_SET_NAME = "rs0"
_PING_TIMEOUT_MS = 2_000


@attrs.define(eq=False, kw_only=True)
class MongoServer(Server):
    """A `mongod` of the tests' own.

    Attributes:
        auth: Whether it wants `user` and `password`; the user is an administrator, known to the
            database `admin`.
        replica_set: Whether it is a replica set of one node, for majority writes and transactions.
        user: The administrator's name.
        password: The administrator's password, new for each server.
    """

    name: ClassVar[str] = "mongod"

    auth: bool = True
    replica_set: bool = False
    user: str = "tester"
    password: str = attrs.field(factory=lambda: secrets.token_hex(8), repr=False)
    _has_user: bool = attrs.field(default=False, init=False)

    @property
    def uri(self) -> str:
        """Its URI, with the user and the password if it wants them."""
        who = f"{self.user}:{self.password}@" if self.auth else ""
        options = [
            *(["authSource=admin"] if self.auth else []),
            *([f"replicaSet={_SET_NAME}"] * self.replica_set),
        ]
        return f"mongodb://{who}127.0.0.1:{self.port}/" + (
            "?" + "&".join(options) if options else ""
        )

    def client(self, **options: Any) -> MongoClient[dict[str, Any]]:
        """Connect as the administrator; the caller closes it.

        Args:
            **options: For `pymongo.MongoClient`.
        """
        return _mongo_client()(self.uri, **options)

    def prepare(self) -> None:
        """Write the key that the nodes of a replica set with passwords must share."""
        (self._own_folder() / "data").mkdir()
        key = self._own_folder() / "key"
        key.touch(mode=0o600)
        key.write_text(secrets.token_hex(32), encoding="ascii")

    def command(self) -> Sequence[str]:
        """Give `mongod` and its arguments."""
        where = [
            "--bind_ip",
            "127.0.0.1",
            "--port",
            str(self.port),
            "--dbpath",
            str(self._own_folder() / "data"),
        ]
        small = [
            "--wiredTigerCacheSizeGB",
            "0.25",
            "--setParameter",
            "diagnosticDataCollectionEnabled=false",
        ]
        auth = ["--auth"] if self.auth else []
        replica_set = ["--replSet", _SET_NAME, "--oplogSize", "64"] if self.replica_set else []
        key = (
            ["--keyFile", str(self._own_folder() / "key")] if self.auth and self.replica_set else []
        )
        return [str(find_mongod()[0]), "--nounixsocket", *where, *small, *auth, *replica_set, *key]

    def variables(self) -> Mapping[str, str]:
        """Give the place of the libraries that it is linked against."""
        return find_mongod()[1]

    def answers(self) -> bool:
        """Say hello; a replica set that was set up answers once it takes writes."""
        with self._direct() as client:
            try:
                hello = client.admin.command("hello")
            except _mongo_error():
                return False
        return bool(hello["isWritablePrimary"]) or (self.replica_set and "setName" not in hello)

    def set_up(self) -> None:
        """Make the replica set and the user; without any user, loopback may do both."""
        with self._direct() as client:
            if self.replica_set:
                node = {"_id": 0, "host": self.address}
                client.admin.command("replSetInitiate", {"_id": _SET_NAME, "members": [node]})
                self._wait_for_primary(client)
            if self.auth:
                client.admin.command("createUser", self.user, pwd=self.password, roles=["root"])

    def _wait_for_primary(self, client: MongoClient[dict[str, Any]]) -> None:
        deadline = time.monotonic() + self.start_timeout_s
        while not client.admin.command("hello")["isWritablePrimary"]:
            if time.monotonic() > deadline:
                raise self._failed(f"did not become primary within {self.start_timeout_s:g} s")
            time.sleep(0.05)

    def _direct(self) -> AbstractContextManager[MongoClient[dict[str, Any]]]:
        """Connect to this very node, in whichever state, without a password."""
        timeouts: dict[str, Any] = {
            "serverSelectionTimeoutMS": _PING_TIMEOUT_MS,
            "socketTimeoutMS": _PING_TIMEOUT_MS * 5,
        }
        return _mongo_client()(
            f"mongodb://127.0.0.1:{self.port}/", directConnection=True, **timeouts
        )


def _mongo_client() -> type[MongoClient[dict[str, Any]]]:
    """Import the driver where it is first needed: those who test no MongoDB need none."""
    try:
        from pymongo import MongoClient
    except ImportError as error:
        reason = "pymongo is not installed (pip install 'eventtracking-testkit[services]')"
        raise ServiceUnavailableError("mongod", reason) from error
    return MongoClient


def _mongo_error() -> type[Exception]:
    from pymongo.errors import PyMongoError

    return PyMongoError
