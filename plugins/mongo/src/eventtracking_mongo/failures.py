"""What a failure of MongoDB means: which events it refuses for good, and words that are safe to
show.

The driver's own texts quote documents, and URIs with their passwords; none of them is passed on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pymongo.errors import (
    BulkWriteError,
    ConfigurationError,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
)

__all__ = ["explain", "reasons_of"]

_DUPLICATE: Final = frozenset({11000, 11001, 12582})
_OF_THE_DOCUMENT: Final = {
    2: "MongoDB takes no such value (BadValue)",
    9: "MongoDB cannot read the document (FailedToParse)",
    15: "nested deeper than MongoDB takes (Overflow)",
    22: "MongoDB cannot read the document (InvalidBSON)",
    52: "a key begins with $, which this server does not take (DollarPrefixedFieldName)",
    53: "the id cannot be an _id (InvalidIdField)",
    56: "a key is empty, which this server does not take (EmptyFieldName)",
    57: "a key holds a dot, which this server does not take (DottedFieldName)",
    121: "the collection's validator refuses it (DocumentValidationFailure)",
    388: "too large for the cache of the server (TransactionTooLargeForCache)",
    171: "an index of the collection cannot hold parallel arrays (CannotIndexParallelArrays)",
    10334: "larger than MongoDB takes (BSONObjectTooLarge)",
    16755: "a geographic index of the collection cannot hold it",
    17262: "a text index of the collection does not know its language",
    17280: "an index of the collection cannot hold so long a value (KeyTooLong)",
}
"""The server's codes for what is wrong with one document and stays so."""
_PASSING: Final = frozenset(
    {
        1,
        6,
        7,
        8,
        13,
        18,
        20,
        24,
        46,
        50,
        63,
        64,
        75,
        79,
        82,
        89,
        91,
        96,
        100,
        112,
        133,
        134,
        146,
        150,
        189,
        202,
        234,
        262,
        279,
        290,
        317,
        355,
        358,
        365,
        371,
        384,
        391,
        8000,
        9001,
        10058,
        10107,
        11600,
        11601,
        11602,
        13388,
        13435,
        13436,
        14031,
    }
)
"""The server's codes for its own state: no primary, no room, no rights, interrupted, timed out,
busy.
"""
_ACCESS: Final = {
    13: (
        "it does not allow this user to write (Unauthorized): the user needs the role readWrite; a"
        " server that wants a user refuses writes without one"
    ),
    18: (
        "it refuses the user or the password (AuthenticationFailed): check them, and `authSource`,"
        " the database that knows the user"
    ),
    8000: "it refuses access (AtlasError): check the user, the password and the rights",
}
_TELLING: Final = {
    "onnection refused": "the connection was refused: is it running there?",
    "ame or service not known": "the name is unknown",
    "odename nor servname": "the name is unknown",
    "replica set members": "none belongs to that `replicaSet`",
    "CERTIFICATE_VERIFY_FAILED": "its certificate is not trusted: see tlsCAFile",
    "SSL": "TLS failed: does the server want it, and with which certificates?",
    "timed out": "it does not answer",
}
"""What a driver's text says, and how we say it."""


def reasons_of(error: BulkWriteError, event_ids: Sequence[str]) -> dict[str, str] | None:
    """Say why documents were refused for good, by event id; an `_id` that is there already is no
    failure.

    Args:
        event_ids: Of the documents, in the order in which they were sent.

    Returns:
        The reasons, or None if the batch must be tried again.
    """
    details: Mapping[str, Any] = error.details or {}
    if details.get("writeConcernErrors"):
        return None
    failures = [failure for failure in details.get("writeErrors", ()) if not _is_stored(failure)]
    some_are_stored = len(failures) < len(event_ids)
    reasons = {
        event_ids[failure["index"]]: _reason(failure, some_are_stored) for failure in failures
    }
    return (
        None
        if None in reasons.values()
        else {key: reason for key, reason in reasons.items() if reason}
    )


def _is_stored(failure: Mapping[str, Any]) -> bool:
    """Whether the document was there already."""
    if failure.get("code") not in _DUPLICATE:
        return False
    pattern = failure.get("keyPattern")
    return list(pattern) == ["_id"] if pattern else "_id_ dup key" in failure.get("errmsg", "")


def _reason(failure: Mapping[str, Any], others_are_stored: bool) -> str | None:
    """Say why a document is refused for good; None if it may be taken another time."""
    code = failure.get("code", 0)
    if code in _DUPLICATE:
        keys = ", ".join(failure.get("keyPattern", {})) or "other keys"
        return f"a unique index of the collection on {keys} has its value already (DuplicateKey)"
    if code not in _OF_THE_DOCUMENT and code not in _PASSING and others_are_stored:
        # so it is not the server's state
        return f"MongoDB refuses it, and took others of its batch (code {code})"
    return _OF_THE_DOCUMENT.get(code)


def explain(error: PyMongoError, where: str, timeout_s: float) -> str:
    """Say what failed, where, and what to do next, without any event's value or secret."""
    return f"MongoDB at {where}: {_what(error, timeout_s)}"


def _what(error: PyMongoError, timeout_s: float) -> str:
    kind = type(error).__name__
    if isinstance(error, ServerSelectionTimeoutError):
        why = next(
            (words for text, words in _TELLING.items() if text in str(error)),
            "none takes writes at the moment",
        )
        return f"no server to write to within timeout_s={timeout_s:g}; {why} ({kind})"
    if isinstance(error, BulkWriteError):
        return _what_of_batch(error)
    if error.timeout:
        return f"no answer within timeout_s={timeout_s:g} ({kind})"
    if isinstance(error, OperationFailure):
        return _ACCESS.get(error.code or 0) or f"it refuses the command ({_name(error)})"
    if isinstance(error, ConfigurationError):
        return (
            f"pymongo cannot use the address or the options ({kind}): check `uri`, `extra` and"
            " the DNS"
        )
    return f"the connection failed ({kind})"


def _what_of_batch(error: BulkWriteError) -> str:
    details: Mapping[str, Any] = error.details or {}
    concern = details.get("writeConcernErrors") or [{}]
    code = concern[0].get("code")
    if code is not None:
        return f"it did not confirm the write concern in time (code {code})"
    codes = {failure.get("code") for failure in details.get("writeErrors", ())} - _DUPLICATE
    codes -= _OF_THE_DOCUMENT.keys()
    known = [_ACCESS[code] for code in sorted(codes & _ACCESS.keys())]
    return (
        known[0]
        if known
        else f"it could not write (codes {', '.join(map(str, sorted(codes, key=str)))})"
    )


def _name(error: OperationFailure) -> str:
    details = error.details or {}
    return f"code {error.code} {details.get('codeName', '')}".strip()
