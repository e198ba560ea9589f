"""Search stored events, beside the processes that write them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import bson
import pymongo
from bson.codec_options import CodecOptions
from bson.errors import BSONError
from pymongo.collection import Collection

from eventtracking import DeliveryError, Event
from eventtracking_mongo.address import Address
from eventtracking_mongo.connection import Connection, close_client, new_client
from eventtracking_mongo.documents import event_of, id_of

__all__ = ["find", "reading"]

_OPTIONS: Final = CodecOptions[dict[str, Any]](tz_aware=True, uuid_representation=4)
_NEWEST_FIRST: Final = [("timestamp", -1), ("_id", -1)]


@contextmanager
def reading(
    connection: Connection | None, address: Address, place: tuple[str, str], timeout_s: float
) -> Iterator[Collection[dict[str, Any]]]:
    """Give the collection: by the connection of this process, else by a client for this search.

    Raises:
        PyMongoError: If no server can be reached, or it refuses the user.
        DeliveryError: If the driver refuses the options.
    """
    with pymongo.timeout(timeout_s):
        if connection is not None:
            with connection.in_use():
                yield connection.collection.with_options(_OPTIONS)
            return
        client = new_client(address, timeout_s)
        try:
            yield client[place[0]].get_collection(place[1], _OPTIONS)
        finally:
            close_client(client)


def find(
    collection: Collection[dict[str, Any]],
    name: str | None,
    since: datetime | None,
    until: datetime | None,
    context: Mapping[str, Any] | None,
    after: str | None,
    limit: int,
) -> list[Event]:
    """Return the newest events that match.

    Raises:
        PyMongoError: If the server cannot be asked.
        DeliveryError: If a document cannot be read.
    """
    wanted = _conditions(name, since, until, context)
    if limit < 1 or not _can_be_stored([*wanted, after]):
        return []
    try:
        if after is not None:
            last = collection.find_one({"_id": id_of(after)}, {"timestamp": 1})
            if last is None:
                return []
            wanted.append(_older(last))
        found = collection.find({"$and": wanted}).sort(_NEWEST_FIRST).limit(limit)
        return [event_of(document) for document in found]
    except BSONError as error:
        raise DeliveryError(
            f"{collection.full_name}: a document cannot be read ({type(error).__name__});"
            " search for a shorter time"
        ) from None


def _conditions(
    name: str | None,
    since: datetime | None,
    until: datetime | None,
    context: Mapping[str, Any] | None,
) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [{"timestamp": {"$type": "date"}}]
    if name is not None and name.endswith("*"):
        begins = re.escape(name[:-1]).replace("\0", r"\x00")
        found.append({"name": {"$regex": f"^{begins}"}})
    elif name is not None:
        found.append({"name": {"$eq": name}})
    if since is not None:
        found.append({"timestamp": {"$gte": since}})
    if until is not None:
        found.append({"timestamp": {"$lt": until}})
    found += [{f"context.{key}": {"$eq": value}} for key, value in (context or {}).items()]
    return found


def _older(last: Mapping[str, Any]) -> dict[str, Any]:
    """Match what comes after an event.

    Ids of two types exist, and only `$expr` compares those.
    """
    moment, identity = last.get("timestamp"), last["_id"]
    if isinstance(identity, UUID):
        identity = bson.Binary.from_uuid(identity)
    later_id = {"$expr": {"$lt": ["$_id", {"$literal": identity}]}}
    return {"$or": [{"timestamp": {"$lt": moment}}, {"timestamp": moment, **later_id}]}


def _can_be_stored(values: Any) -> bool:
    """Whether MongoDB could hold the values that are searched for."""
    try:
        bson.encode({"values": values}, codec_options=_OPTIONS)
    except (BSONError, OverflowError, UnicodeError):
        return False
    return True
