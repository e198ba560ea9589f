"""The message: what Segment gets for one event."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import attrs

from eventtracking import Event
from eventtracking_segment._version import LIBRARY

__all__ = [
    "MAX_BATCH_BYTES",
    "MAX_BATCH_EVENTS",
    "MAX_MESSAGE_BYTES",
    "NO_IDENTITY",
    "TOO_LARGE",
    "Message",
    "Unsendable",
    "batches",
    "message_for",
]

MAX_MESSAGE_BYTES: Final = 32 * 1024
"""Segment takes messages up to 32 KB.

This limit and the next two: "Errors" in the reference of its HTTP API,
segment.com/docs/connections/sources/catalog/libraries/server/http-api, which says that it answers
400 to a larger one.
"""
MAX_BATCH_BYTES: Final = 475_000
"""Segment takes batches up to 500 KB.

The official client leaves the same room for what surrounds the messages.
"""
MAX_BATCH_EVENTS: Final = 2_500
"""Segment takes 2,500 messages a batch. It answers 200 to more, and drops them."""
_MAX_ID_CHARACTERS: Final = 99
"""Segment takes message ids of fewer than 100 characters."""

NO_IDENTITY: Final = "no user_id and no anonymous id in the context"
TOO_LARGE: Final = "longer than the 32 KB that Segment takes"

_COPIED: Final = (("ip", "ip"), ("agent", "userAgent"))
_OF_THE_PAGE: Final = (("path", "path"), ("referer", "referrer"))


class Unsendable(Exception):  # noqa: N818 - a verdict on one event, which becomes part of a `Rejected`
    """Raised for an event that Segment can never take.

    Its text is the reason, without any of the event's values.
    """


@attrs.frozen
class Message:
    """One event in Segment's terms."""

    event_id: str
    body: dict[str, Any]
    size_bytes: int
    """Its length in the request, before compression."""


def message_for(event: Event, anonymous_id_keys: Iterable[str], whole_event: bool) -> Message:
    """Turn an event into a `track` message.

    Every value is plain JSON, so that the client can encode what it gets.

    Args:
        event: The event, which is not changed.
        anonymous_id_keys: Where in the context to look for an anonymous id, if there is no user;
            the first one wins.
        whole_event: Whether the whole event goes out as the properties, or its data.

    Raises:
        Unsendable: If it has no identity, or is too large.
    """
    document: dict[str, Any] = json.loads(event.to_json())
    fields = _fields(event, document)
    context = fields["context"]
    body = {
        "type": "track",
        "messageId": _message_id(event.id),
        "timestamp": fields["timestamp"],
        "event": fields["name"],
        **_identity_of(fields, anonymous_id_keys),
        "properties": document if whole_event else fields["data"],
        "context": {"library": dict(LIBRARY), **_segment_context(context), **_schema(document)},
    }
    size_bytes = len(json.dumps(body))  # as the client encodes it: ASCII
    if size_bytes > MAX_MESSAGE_BYTES:
        raise Unsendable(TOO_LARGE)
    return Message(event.id, body, size_bytes)


def _fields(event: Event, document: dict[str, Any]) -> dict[str, Any]:
    """Return the document, with the event's own fields where it has none, or none that fits.

    Code written for event-tracking may have given the event a shape in which keys are missing.
    """
    if not event.extra:
        return document
    own: dict[str, Any] = json.loads(event.replace(extra={}).to_json())
    return {
        key: document[key] if isinstance(document.get(key), type(value)) else value
        for key, value in own.items()
    }


def _message_id(event_id: str) -> str:
    """Return the event's id; for one that Segment would find too long, always the same stand-in."""
    return (
        event_id
        if len(event_id) <= _MAX_ID_CHARACTERS
        else hashlib.sha256(event_id.encode()).hexdigest()
    )


def _schema(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema that a catalog has stamped the event with."""
    return {"schema": document["schema"]} if isinstance(document.get("schema"), str) else {}


def _identity_of(document: Mapping[str, Any], keys: Iterable[str]) -> dict[str, str]:
    """Return the identity of an event; the records of event types, which no user causes, are ours.

    Raises:
        Unsendable: If it has none.
    """
    try:
        return _identity(document["context"], keys)
    except Unsendable:
        if document["name"].startswith("eventtracking."):
            return {"anonymousId": "eventtracking"}
        raise


def _identity(context: Mapping[str, Any], anonymous_id_keys: Iterable[str]) -> dict[str, str]:
    if user_id := _id_text(context.get("user_id")):
        return {"userId": user_id}
    for key in anonymous_id_keys:
        if anonymous_id := _id_text(context.get(key)):
            return {"anonymousId": anonymous_id}
    raise Unsendable(NO_IDENTITY)


def _id_text(value: Any) -> str:
    """Return text or a number as text, and nothing for what cannot name anybody."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    return str(value)


def _segment_context(context: Mapping[str, Any]) -> dict[str, Any]:
    """Translate what the context says about the request into Segment's words."""
    found = {theirs: context[ours] for ours, theirs in _COPIED if context.get(ours) is not None}
    if context.get("client_id") is not None:
        found["Google Analytics"] = {"clientId": context["client_id"]}
    if page := _page(context):
        found["page"] = page
    return found


def _page(context: Mapping[str, Any]) -> dict[str, Any]:
    page = {theirs: context[ours] for ours, theirs in _OF_THE_PAGE if context.get(ours) is not None}
    if context.get("page"):
        page["url"] = context["page"]
    elif context.get("host") and context.get("path"):
        page["url"] = f"https://{context['host']}/{str(context['path']).removeprefix('/')}"
    return page


def batches(messages: Sequence[Message]) -> Iterator[list[Message]]:
    """Split messages, in their order, into batches within Segment's limits."""
    batch: list[Message] = []
    batch_bytes = 0
    for message in messages:
        size_bytes = message.size_bytes + len(", ")
        if batch and (batch_bytes + size_bytes > MAX_BATCH_BYTES or len(batch) == MAX_BATCH_EVENTS):
            yield batch
            batch, batch_bytes = [], 0
        batch.append(message)
        batch_bytes += size_bytes
    if batch:
        yield batch
