"""The backend keeps the contract, on a real server with a password."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
from pymongo import MongoClient

from eventtracking import Event
from eventtracking_testkit.contracts import BackendContract
from eventtracking_testkit.services import MongoServer, TcpProxy
from eventtracking_testkit.services.fixtures import RunningService

Documents = Callable[[], list[Event]]


def read(uri: str, database: str) -> list[Event]:
    """Read the events of a database, past the backend."""
    with MongoClient[dict[str, Any]](uri, uuidRepresentation="standard", tz_aware=True) as client:
        found = list(client[database].events.find())
    return [Event.from_dict({"id": document.pop("_id"), **document}) for document in found]


class TestContract(BackendContract):
    """Everything that a backend must keep."""

    plugin = "mongo"

    @pytest.fixture
    def proxy(
        self, mongo_server: RunningService, new_tcp_proxy: Callable[[int], TcpProxy]
    ) -> TcpProxy:
        """A way to the server that can be broken."""
        return new_tcp_proxy(mongo_server.port)

    @pytest.fixture
    def options(self, proxy: TcpProxy, mongo_server: RunningService) -> Mapping[str, Any]:
        """A database of the test's own."""
        database = "contract_" + secrets.token_hex(4)
        uri = mongo_server.uri.replace(f":{mongo_server.port}/", f":{proxy.port}/")
        return {"uri": uri, "database": database, "timeout_s": 2.0}

    @pytest.fixture
    def stored(
        self, options: Mapping[str, Any], mongo_server: RunningService
    ) -> Iterator[Documents]:
        """Read it, and remove it after the test."""
        yield lambda: read(mongo_server.uri, options["database"])
        with MongoClient[dict[str, Any]](mongo_server.uri) as client:
            client.drop_database(options["database"])

    @pytest.fixture
    def broken(self, proxy: TcpProxy) -> Callable[[], AbstractContextManager[None]]:
        """Refuse connections for the length of a block."""

        @contextmanager
        def break_it() -> Iterator[None]:
            proxy.refuse()
            yield
            proxy.let_pass()

        return break_it


class TestContractWithPassword(BackendContract):
    """The same with a URI that holds a password, on a replica set."""

    plugin = "mongo"

    @pytest.fixture
    def options(self, secured: MongoServer) -> Mapping[str, Any]:
        """A database of the test's own."""
        return {"uri": secured.uri, "database": "contract_" + secrets.token_hex(4)}

    @pytest.fixture
    def stored(self, options: Mapping[str, Any], secured: MongoServer) -> Documents:
        """Read it as the administrator."""
        return lambda: read(secured.uri, options["database"])
