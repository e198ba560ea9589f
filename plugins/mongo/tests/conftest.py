"""Servers and backends for the tests of this distribution."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.collection import Collection

from eventtracking_mongo.backend import MongoBackend
from eventtracking_testkit.services import MongoServer
from eventtracking_testkit.services.fixtures import RunningService


@pytest.fixture(scope="module")
def secured(mongo_server: RunningService) -> Iterator[MongoServer]:
    """Start a replica set of one node that wants a password.

    (Where no server can be had, `mongo_server` says so.)
    """
    with MongoServer(auth=True, replica_set=True) as server:
        yield server


@pytest.fixture
def database() -> str:
    """Name a database of the test's own."""
    return "test_" + secrets.token_hex(4)


@pytest.fixture
def make() -> Iterator[Callable[..., MongoBackend]]:
    """Make opened backends, which are closed after the test."""
    made: list[MongoBackend] = []

    def make(**options: Any) -> MongoBackend:
        made.append(MongoBackend(**options))
        made[-1].open()
        return made[-1]

    yield make
    for backend in made:
        backend.close()


@pytest.fixture
def events_in() -> Iterator[Callable[..., Collection[dict[str, Any]]]]:
    """Open the collection `events` of a database, past the backend."""
    clients: list[MongoClient[dict[str, Any]]] = []

    def events_in(uri: str, database: str) -> Collection[dict[str, Any]]:
        clients.append(MongoClient(uri, uuidRepresentation="standard", tz_aware=True))
        return clients[-1][database].events

    yield events_in
    for client in clients:
        client.close()
