"""What Segment gets for an event."""

from __future__ import annotations

import json
import uuid
from datetime import datetime, timezone
from typing import Any

import pytest

from eventtracking import Event
from eventtracking_segment import _message
from eventtracking_segment._message import Message, Unsendable, batches, message_for

KEYS = ["session_id", "session"]


def body_of(context: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """The message for an event with this context."""
    return message_for(Event(name="a.b", context=context, **fields), KEYS, whole_event=True).body


def context_of(**context: Any) -> dict[str, Any]:
    """What Segment's context says beside the library."""
    found: dict[str, Any] = body_of({"user_id": 1, **context})["context"]
    assert found.pop("library")["name"] == "eventtracking-segment"
    return found


def test_the_whole_message() -> None:
    """Name, id, time, user and the whole event are where Segment looks for them."""
    moment = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=timezone.utc)
    event = Event(name="a.b", timestamp=moment, context={"user_id": 7}, data={"x": 1})
    body = message_for(event, KEYS, whole_event=True).body
    assert body.pop("context")["library"]["version"]
    assert body == {
        "type": "track",
        "messageId": event.id,
        "timestamp": "2026-01-02T03:04:05.678000Z",
        "event": "a.b",
        "userId": "7",
        "properties": json.loads(event.to_json()),
    }


def test_only_the_data() -> None:
    """With `send_as = "data"` the properties are the data alone."""
    event = Event(name="a", context={"user_id": 7}, data={"x": 1})
    assert message_for(event, KEYS, whole_event=False).body["properties"] == {"x": 1}


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({}, {}),
        ({"client_id": "GA1.2"}, {"Google Analytics": {"clientId": "GA1.2"}}),
        (
            {"ip": "192.0.2.1", "agent": "Mozilla/5.0"},
            {"ip": "192.0.2.1", "userAgent": "Mozilla/5.0"},
        ),
        (
            {"path": "/p", "referer": "https://r/"},
            {"page": {"path": "/p", "referrer": "https://r/"}},
        ),
        ({"page": "https://h/p?q=1"}, {"page": {"url": "https://h/p?q=1"}}),
        ({"host": "h", "path": "p"}, {"page": {"path": "p", "url": "https://h/p"}}),
        ({"host": "h:8000", "path": "/p"}, {"page": {"path": "/p", "url": "https://h:8000/p"}}),
        (
            {"page": "https://x/", "host": "h", "path": "/p"},
            {"page": {"path": "/p", "url": "https://x/"}},
        ),
        ({"page": "", "host": "h", "path": "/p"}, {"page": {"path": "/p", "url": "https://h/p"}}),
        ({"host": "h"}, {}),
        ({"client_id": None, "ip": None, "page": None, "path": None, "referer": None}, {}),
        ({"course_id": "c", "username": "u"}, {}),
    ],
)
def test_the_context_in_the_words_of_segment(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """The mapping is the one that event-tracking 4.0.2 was seen to make."""
    assert context_of(**ours) == theirs


@pytest.mark.parametrize(
    ("context", "identity"),
    [
        ({"user_id": 0}, {"userId": "0"}),
        ({"user_id": "u", "session": "s"}, {"userId": "u"}),
        ({"user_id": None, "session": "s"}, {"anonymousId": "s"}),
        ({"user_id": "", "session": "s", "session_id": "i"}, {"anonymousId": "i"}),
        ({"user_id": {"a": 1}, "session_id": 5}, {"anonymousId": "5"}),
        ({"user_id": uuid.UUID(int=1)}, {"userId": "00000000-0000-0000-0000-000000000001"}),
    ],
)
def test_who_it_was(context: dict[str, Any], identity: dict[str, str]) -> None:
    """The user, else the first anonymous id that the context has; numbers become text."""
    body = body_of(context)
    assert {key: body[key] for key in ("userId", "anonymousId") if key in body} == identity


@pytest.mark.parametrize(
    "context", [{}, {"user_id": None, "session": ""}, {"user_id": True}, {"other": "x"}]
)
def test_nobody(context: dict[str, Any]) -> None:
    """Without any identity the event cannot be sent, and the reason says so."""
    with pytest.raises(Unsendable, match="no user_id and no anonymous id in the context"):
        body_of(context)


def test_values_are_plain_json() -> None:
    """NaN, bytes, times, UUIDs, huge integers and lone surrogates come out as JSON that others can
    read.
    """
    data = {
        "nan": float("nan"),
        "b": b"\x00",
        "u": uuid.UUID(int=2),
        "big": 2**70,
        "s": "\ud800",
        "t": (1, 2),
    }
    properties = body_of({"user_id": 1}, data=data)["properties"]["data"]
    assert properties["nan"] is None
    assert properties["b"] == "AA=="
    assert properties["big"] == 2**70
    assert properties["t"] == [1, 2]
    json.dumps(properties, allow_nan=False).encode()


def test_a_long_id_has_always_the_same_stand_in() -> None:
    """Segment takes ids of fewer than 100 characters; a longer one still makes twice once."""
    first, second = (body_of({"user_id": 1}, id="x" * 100)["messageId"] for _ in range(2))
    assert first == second
    assert len(first) < 100
    assert body_of({"user_id": 1}, id="y" * 100)["messageId"] != first
    assert body_of({"user_id": 1}, id="x" * 99)["messageId"] == "x" * 99


def test_the_largest_message() -> None:
    """A message of exactly 32 KB can be sent, one byte more cannot; it is measured as the client
    encodes it.
    """
    empty = message_for(
        Event(name="a", id="i" * 36, context={"user_id": 1}, data={"x": ""}),
        KEYS,
        whole_event=False,
    )
    room = 32 * 1024 - empty.size_bytes
    fits = Event(name="a", id="i" * 36, context={"user_id": 1}, data={"x": "x" * room})
    assert message_for(fits, KEYS, whole_event=False).size_bytes == 32 * 1024
    with pytest.raises(Unsendable, match="longer than the 32 KB that Segment takes"):
        message_for(fits.replace(data={"x": "x" * (room + 1)}), KEYS, whole_event=False)


def test_batches_stay_within_the_limits() -> None:
    """No batch exceeds the bytes or the number that Segment takes, and all messages are in them, in
    order.
    """
    large = [Message(str(number), {}, _message.MAX_MESSAGE_BYTES) for number in range(40)]
    small = [Message(str(number), {}, 10) for number in range(40, 6000)]
    found = list(batches([*large, *small]))
    assert [message.event_id for batch in found for message in batch] == [
        str(number) for number in range(6000)
    ]
    assert max(sum(message.size_bytes + 2 for message in batch) for batch in found) <= 475_000
    assert max(len(batch) for batch in found) == 2_500
    assert list(batches([])) == []


def test_the_schema_of_a_catalog() -> None:
    """The stamp stands in the context; a record of an event type, which no user causes, is sent."""
    stamp = "a.b@0123456789abcdef"
    event = Event(name="a.b", context={"user_id": 7}, extra={"schema": stamp})
    for whole_event in (True, False):
        assert message_for(event, KEYS, whole_event).body["context"]["schema"] == stamp
    assert "schema" not in context_of()
    record = Event(name="eventtracking.event_type", data={"schema": stamp})
    assert message_for(record, KEYS, whole_event=False).body["anonymousId"] == "eventtracking"
