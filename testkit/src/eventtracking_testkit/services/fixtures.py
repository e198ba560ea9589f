"""Offer the real servers as pytest fixtures.

Load it in the outermost `conftest.py`: `pytest_plugins =
["eventtracking_testkit.services.fixtures"]`. A test that uses one of them gets the mark `service`
by itself, so that `-m "not service"` leaves out exactly those.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any, NoReturn, TypeVar
from urllib.parse import urlsplit

import attrs
import pytest

from eventtracking_testkit.services._process import Owner
from eventtracking_testkit.services._server import Server
from eventtracking_testkit.services._shared import TestRun
from eventtracking_testkit.services.errors import ServiceUnavailableError
from eventtracking_testkit.services.mongo import MongoServer
from eventtracking_testkit.services.proxy import TcpProxy
from eventtracking_testkit.services.rabbitmq import RabbitMQServer
from eventtracking_testkit.services.redis import RedisServer

__all__ = [
    "RunningService",
    "leave_out",
    "mongo_replica_set",
    "mongo_server",
    "new_mongo_server",
    "new_rabbitmq_server",
    "new_redis_server",
    "new_tcp_proxy",
    "rabbitmq_server",
    "redis_server",
]

_SERVICE_FIXTURES = frozenset(
    {
        "mongo_replica_set",
        "mongo_server",
        "new_mongo_server",
        "new_rabbitmq_server",
        "new_redis_server",
        "rabbitmq_server",
        "redis_server",
    }
)

_S = TypeVar("_S", bound=Server)

_runs: list[pytest.Config] = []
"""The runs of this process, from the outermost in."""


@attrs.frozen
class RunningService:
    """A server that the whole run shares: use it, and leave it running.

    Attributes:
        uri: Where it is, with the user and the password if it wants them.
    """

    uri: str = attrs.field(repr=False)

    @property
    def user(self) -> str:
        """The user in its URI; empty if it names none."""
        return urlsplit(self.uri).username or ""

    @property
    def password(self) -> str:
        """The password in its URI; empty if it names none."""
        return urlsplit(self.uri).password or ""

    @property
    def host(self) -> str:
        """The host in its URI."""
        return urlsplit(self.uri).hostname or ""

    @property
    def port(self) -> int:
        """The port in its URI; 0 if it names none."""
        return urlsplit(self.uri).port or 0


def pytest_configure(config: pytest.Config) -> None:
    """Make the mark known where the project has not, and remember the outermost run of this
    process.
    """
    _runs.append(config)
    config.addinivalue_line(
        "markers", "service: needs a real server; given to all tests that use a server's fixture"
    )


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark what uses a server, so that nobody can forget it."""
    if _SERVICE_FIXTURES.intersection(getattr(item, "fixturenames", ())):
        item.add_marker("service")


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the servers that this run shared, once its leader is done; a run inside of it
    (`pytester`) ends none.
    """
    _runs.remove(config)
    if not _runs and not hasattr(config, "workerinput"):
        TestRun(Owner.of()).end()


@pytest.fixture(scope="session")
def mongo_server(request: pytest.FixtureRequest) -> RunningService:
    """Give the run's MongoDB, a standalone server, or `EVENTTRACKING_MONGO_URI`."""
    return _shared(
        request, "mongo", "EVENTTRACKING_MONGO_URI", lambda owner: MongoServer(owner=owner)
    )


@pytest.fixture(scope="session")
def mongo_replica_set(request: pytest.FixtureRequest) -> RunningService:
    """Give the run's replica set of one node, or `EVENTTRACKING_MONGO_REPLICA_SET_URI`."""
    variable = "EVENTTRACKING_MONGO_REPLICA_SET_URI"
    return _shared(
        request, "mongo-rs", variable, lambda owner: MongoServer(owner=owner, replica_set=True)
    )


@pytest.fixture(scope="session")
def redis_server(request: pytest.FixtureRequest) -> RunningService:
    """Give the run's Redis, which keeps nothing on disk, or `EVENTTRACKING_REDIS_URL`."""
    return _shared(
        request, "redis", "EVENTTRACKING_REDIS_URL", lambda owner: RedisServer(owner=owner)
    )


@pytest.fixture(scope="session")
def rabbitmq_server(request: pytest.FixtureRequest) -> RunningService:
    """Give the run's RabbitMQ, or `EVENTTRACKING_RABBITMQ_URL`."""
    return _shared(
        request, "rabbitmq", "EVENTTRACKING_RABBITMQ_URL", lambda owner: RabbitMQServer(owner=owner)
    )


@pytest.fixture
def new_mongo_server(request: pytest.FixtureRequest) -> Iterator[Callable[..., MongoServer]]:
    """Start MongoDB servers of the test's own, to be killed and paused:
    `new_mongo_server(replica_set=True)`.
    """
    yield from _factory(request, MongoServer)


@pytest.fixture
def new_redis_server(request: pytest.FixtureRequest) -> Iterator[Callable[..., RedisServer]]:
    """Start Redis servers of the test's own: `new_redis_server(persistent=True)`."""
    yield from _factory(request, RedisServer)


@pytest.fixture
def new_rabbitmq_server(request: pytest.FixtureRequest) -> Iterator[Callable[..., RabbitMQServer]]:
    """Start RabbitMQ servers of the test's own; each takes some ten seconds."""
    yield from _factory(request, RabbitMQServer)


@pytest.fixture
def new_tcp_proxy() -> Iterator[Callable[[int], TcpProxy]]:
    """Put proxies before a port of 127.0.0.1, which can spoil the network:
    `new_tcp_proxy(port)`.
    """
    proxies: list[TcpProxy] = []

    def start(port: int) -> TcpProxy:
        proxies.append(TcpProxy(port))
        proxies[-1].start()
        return proxies[-1]

    yield start
    for proxy in proxies:
        proxy.close()


def _shared(
    request: pytest.FixtureRequest, name: str, variable: str, make: Callable[[Owner], Server]
) -> RunningService:
    if uri := os.environ.get(variable):
        return RunningService(uri)
    try:
        return RunningService(TestRun(_leader(request)).server(name, make))
    except ServiceUnavailableError as error:
        leave_out(error)


def _leader(request: pytest.FixtureRequest) -> Owner:
    """Name the process that leads the run: the parent of xdist's workers, else this one."""
    return Owner.of(os.getppid() if hasattr(request.config, "workerinput") else os.getpid())


def _factory(request: pytest.FixtureRequest, kind: type[_S]) -> Iterator[Callable[..., _S]]:
    servers: list[_S] = []

    def start(**options: Any) -> _S:
        servers.append(kind(owner=_leader(request), **options))
        try:
            servers[-1].start()
        except ServiceUnavailableError as error:
            leave_out(error)
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def leave_out(reason: object) -> NoReturn:
    """Skip the test and say why; with `EVENTTRACKING_REQUIRE_SERVICES=1`, fail it.

    Args:
        reason: The server, program or package that cannot be had, and what to do about it.
    """
    if os.environ.get("EVENTTRACKING_REQUIRE_SERVICES") == "1":
        pytest.fail(f"{reason} (and EVENTTRACKING_REQUIRE_SERVICES=1)", pytrace=False)
    pytest.skip(str(reason))
