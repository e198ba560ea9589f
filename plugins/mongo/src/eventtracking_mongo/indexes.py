"""The indexes of the collection: by time, by name, and the one by which MongoDB deletes what is
old.
"""

from __future__ import annotations

from typing import Any, Final

from pymongo import WriteConcern
from pymongo.collection import Collection
from pymongo.errors import OperationFailure, PyMongoError

__all__ = ["make_indexes"]

_OTHER_OPTIONS: Final = 85
"""The server's code for an index on the same keys that has other options."""
_CAUSES: Final = {
    13: "the user may not (the role readWrite allows it)",
    _OTHER_OPTIONS: "there is one with other options, such as another expiry",
    86: "there is one of the same name with other options",
}


def make_indexes(
    collection: Collection[dict[str, Any]], wanted: bool, expire_after_s: int | None
) -> str:
    """Make the indexes that are not there; nothing happens to those that are.

    Args:
        wanted: Whether those to search by are wanted; the one to delete by is if there is a time
            for it.
        expire_after_s: How long after their timestamp MongoDB keeps events, in seconds. None: for
            good.

    Returns:
        What went wrong, in words that are safe to show; empty if nothing did.
    """
    acknowledged = collection.with_options(write_concern=WriteConcern())
    problem = ""
    for key in ("timestamp", "name") if wanted else ("timestamp",):
        try:
            _make(acknowledged, key, expire_after_s if key == "timestamp" else None)
        except PyMongoError as error:
            problem = (
                problem
                or f"cannot make the index on `{key}` in {collection.full_name}: {_why(error)}"
            )
    return problem


def _make(collection: Collection[dict[str, Any]], key: str, expire_after_s: int | None) -> None:
    options: dict[str, Any] = (
        {} if expire_after_s is None else {"expireAfterSeconds": expire_after_s}
    )
    try:
        collection.create_index([(key, 1)], **options)
    except OperationFailure as error:
        if error.code != _OTHER_OPTIONS or not options:
            raise
        index = {"keyPattern": {key: 1}, **options}
        collection.database.command("collMod", collection.name, index=index)


def _why(error: PyMongoError) -> str:
    if not isinstance(error, OperationFailure):
        return type(error).__name__
    return _CAUSES.get(error.code or 0, f"the server refuses it (code {error.code})")
