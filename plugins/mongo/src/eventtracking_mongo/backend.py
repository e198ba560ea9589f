"""The backend that stores events in MongoDB."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal

import attrs
import msgspec
import pymongo
from pymongo.errors import BulkWriteError, PyMongoError

from eventtracking import DeliveryError, Event, OptionsError, Rejected
from eventtracking_mongo.address import Address
from eventtracking_mongo.connection import Connection
from eventtracking_mongo.documents import encode_batch
from eventtracking_mongo.failures import explain, reasons_of
from eventtracking_mongo.indexes import make_indexes
from eventtracking_mongo.search import find, reading

__all__ = ["MongoBackend"]

_TRY_INDEXES_AFTER_S = 300.0
"""How long after a failure the indexes are tried again, with the next batch."""
_log = logging.getLogger("eventtracking.mongo")

Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]
DatabaseName = Annotated[str, msgspec.Meta(pattern=r'^[^ /\\."$\x00]{1,63}$')]
CollectionName = Annotated[str, msgspec.Meta(pattern=r"^(?!system\.)[^.$\x00]+(\.[^.$\x00]+)*$")]


@attrs.define(eq=False)
class MongoBackend:
    """Store each event as one document of MongoDB.

    `send` returns when the server has confirmed the batch at the `write_concern`. The event's id is
    the document's `_id`, so that an event delivered twice is stored once. Threads share one client,
    which `open` makes; a forked child makes its own, and neither uses nor closes its parent's.
    """

    uri: str | None = attrs.field(
        default=None,
        repr=False,
        metadata={"help": "The address as a MongoDB URI; or give `host` and the like."},
    )
    host: str | list[str] | None = attrs.field(
        default=None,
        metadata={
            "help": (
                "A server, or a list of them, each `name` or `name:port`. Without uri and host:"
                " localhost."
            )
        },
    )
    port: Port | None = attrs.field(
        default=None,
        metadata={"help": "The port of each `host` that names none; 27017 if it is left out."},
    )
    user: str | None = attrs.field(default=None, metadata={"help": "The user to authenticate as."})
    password: str | None = attrs.field(
        default=None,
        repr=False,
        metadata={"help": "The user's password, as it is (only in `uri` is it encoded)."},
    )
    extra: dict[str, Any] = attrs.field(
        factory=dict,
        repr=False,
        metadata={
            "help": (
                "Further options of pymongo's MongoClient: tls, replicaSet, authSource,"
                " maxPoolSize..."
            )
        },
    )
    database: DatabaseName = attrs.field(
        default="eventtracking", metadata={"help": "The database to store in."}
    )
    collection: CollectionName = attrs.field(
        default="events", metadata={"help": "The collection to store in."}
    )
    write_concern: Literal["majority", 1, 0] = attrs.field(
        default="majority",
        metadata={
            "help": (
                "majority: survives the loss of a server. 1: one server has it in memory. 0:"
                " unconfirmed, may be lost unseen."
            )
        },
    )
    expire_after_s: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)] | None = attrs.field(
        default=None,
        metadata={
            "help": (
                "MongoDB deletes events so many seconds after their timestamp (a TTL index). None:"
                " it keeps them."
            )
        },
    )
    create_indexes: bool = attrs.field(
        default=True,
        metadata={"help": "Whether to make the indexes on `timestamp` and `name` on first use."},
    )
    timeout_s: Annotated[float, msgspec.Meta(gt=0, le=3600)] = attrs.field(
        default=5.0,
        metadata={
            "help": (
                "The longest that one batch, or opening, may take in seconds: finding a server,"
                " sending, confirming."
            )
        },
    )
    _address: Address = attrs.field(init=False, repr=False)
    _connection: Connection | None = attrs.field(init=False, repr=False, default=None)
    _indexes_due_at: float = attrs.field(init=False, repr=False, default=math.inf)
    _index_problem: str = attrs.field(init=False, repr=False, default="")

    blocking: ClassVar[bool] = True
    """It talks to a network."""

    def __attrs_post_init__(self) -> None:
        self._address = Address.checked(
            self.uri, self.host, self.port, self.user, self.password, self.extra
        )
        if self.write_concern == 0 and self._address.wants_journal:
            text = (
                "0 asks for no confirmation, and `journal` for one: leave out `journal`, or take 1"
            )
            raise OptionsError({"write_concern": text})

    def open(self) -> None:
        """Connect, authenticate, and make the indexes.

        Indexes that cannot be made are logged, and tried again later.

        Raises:
            DeliveryError: If no server that takes writes can be reached, or it refuses the user.
        """
        if self._live() is not None:
            return
        try:
            with pymongo.timeout(self.timeout_s):
                connection = Connection.made(
                    self._address, self._place(), self.write_concern, self.timeout_s
                )
                self._connection = connection
                self._try_indexes(connection)
        except PyMongoError as error:
            raise self._failed(error) from None

    def send(self, events: Sequence[Event]) -> None:
        """Insert the events with one unordered, acknowledged command (more, if the batch exceeds
        the server's limits).

        Raises:
            Rejected: For the events that can never be stored: too large, too deep, not encodable as
                BSON, or refused by a rule of the collection. The others are stored.
            DeliveryError: If it is not certain that the others are stored. Trying again stores none
                twice.
        """
        connection = self._live()
        if connection is None:
            raise DeliveryError("the mongo backend is not open in this process: call open() first")
        documents, reasons = encode_batch(events, connection.max_document_bytes)
        with connection.in_use(), pymongo.timeout(self.timeout_s):
            if documents:
                reasons.update(self._insert(connection, documents))
            if time.monotonic() >= self._indexes_due_at:
                self._try_indexes(connection)
        if reasons:
            raise Rejected(reasons)

    def close(self) -> None:
        """Close the client; if a `send` is at work, that one does so when it has ended."""
        connection, self._connection = self._live(), None
        if connection is not None:
            connection.close()

    def search(
        self,
        name: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        context: Mapping[str, Any] | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> list[Event]:
        """Return stored events, the newest first. The backend need not be open, and is not opened.

        Args:
            name: The event's name, or its beginning and `*`.
            since: Not before.
            until: Before.
            context: Values that the context must have, by path: `{"user.id": 7}`.
            after: The id of the last event of the page before.
            limit: At most so many.

        Raises:
            DeliveryError: If no server can be asked within `timeout_s`.
        """
        try:
            with reading(self._live(), self._address, self._place(), self.timeout_s) as collection:
                return find(collection, name, since, until, context, after, limit)
        except PyMongoError as error:
            raise self._failed(error) from None

    def _live(self) -> Connection | None:
        """The connection, if it was made in this process."""
        connection = self._connection
        return connection if connection is not None and connection.pid == os.getpid() else None

    def _insert(self, connection: Connection, documents: dict[str, Any]) -> dict[str, str]:
        """Insert the documents; return why some were refused for good."""
        try:
            connection.collection.insert_many(documents.values(), ordered=False)
        except BulkWriteError as error:
            reasons = reasons_of(error, list(documents))
            if reasons is None:
                raise self._failed(error) from None
            return reasons
        except PyMongoError as error:
            raise self._failed(error) from None
        return {}

    def _try_indexes(self, connection: Connection) -> None:
        """Make the indexes; what cannot be made delays no event, and is logged once."""
        if not self.create_indexes and self.expire_after_s is None:
            return
        self._indexes_due_at = (
            time.monotonic() + _TRY_INDEXES_AFTER_S
        )  # no other thread tries meanwhile
        problem = make_indexes(connection.collection, self.create_indexes, self.expire_after_s)
        if not problem:
            self._indexes_due_at = math.inf
        elif problem != self._index_problem:
            _log.warning(
                "eventtracking-mongo: %s: events are stored without it, and it is tried again",
                problem,
            )
        self._index_problem = problem

    def _place(self) -> tuple[str, str]:
        return self.database, self.collection

    def _failed(self, error: PyMongoError) -> DeliveryError:
        return DeliveryError(explain(error, str(self._address), self.timeout_s))
