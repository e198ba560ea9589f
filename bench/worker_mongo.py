"""The worker that stores batches of events in MongoDB: through our backend, or by `insert_many`
alone.

Both begin with the facts of an event, and end when the server has confirmed the batch.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any, Final, Literal, cast

import uuid_utils.compat
from _events import CONTEXT, NAME, SMALL
from _worker import serve
from pymongo import MongoClient, WriteConcern

from eventtracking import Event
from eventtracking_mongo.backend import MongoBackend

BATCH: Final = 500
BATCHES: Final = 4


def ours(uri: str, concern: str) -> Callable[[], object]:
    """Send batches through the backend."""
    write_concern = cast(
        "Literal['majority', 1]", concern if concern == "majority" else int(concern)
    )
    backend = MongoBackend(uri=uri, write_concern=write_concern)
    backend.open()

    def action() -> None:
        for _ in range(BATCHES):
            backend.send([Event(name=NAME, context=CONTEXT, data=SMALL) for _ in range(BATCH)])

    return action


def raw(uri: str, concern: str) -> Callable[[], object]:
    """Insert the same documents into the same collection, with the same write concern."""
    client: MongoClient[dict[str, Any]] = MongoClient(uri, uuidRepresentation="standard")
    write_concern = (
        WriteConcern(w="majority", j=True)
        if concern == "majority"
        else WriteConcern(w=int(concern))
    )
    collection = client.eventtracking.get_collection("events", write_concern=write_concern)

    def action() -> None:
        for _ in range(BATCHES):
            collection.insert_many([document() for _ in range(BATCH)], ordered=False)

    return action


def document() -> dict[str, Any]:
    """Make the document that our backend would store."""
    return {
        "_id": uuid_utils.compat.uuid7(),
        "name": NAME,
        "timestamp": datetime.now(timezone.utc),
        "context": CONTEXT,
        "data": SMALL,
    }


if __name__ == "__main__":
    serve({"ours": ours, "raw": raw})
