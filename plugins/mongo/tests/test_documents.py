"""What becomes of an event as a document, without a server."""

from __future__ import annotations

import copy
import math
import uuid
from datetime import date, datetime, timedelta, timezone
from typing import Any

import bson
import pytest
from bson.codec_options import CodecOptions

from eventtracking import Event
from eventtracking_mongo.documents import MAX_DEPTH, encode_batch
from eventtracking_testkit.samples import SAMPLE_DATA, sample_event

UTC = timezone.utc
LARGEST = 16 * 1024 * 1024
READ = CodecOptions[dict[str, Any]](tz_aware=True, tzinfo=UTC, uuid_representation=4)


def stored(event: Event) -> dict[str, Any]:
    """Encode one event, which can be, and read it back."""
    documents, reasons = encode_batch([event], LARGEST)
    assert reasons == {}
    return bson.decode(documents[event.id].raw, codec_options=READ)


def refused(event: Event) -> str:
    """Encode one event, which cannot be, between two good ones; the reason."""
    before, after = Event(name="a"), Event(name="b")
    documents, reasons = encode_batch([before, event, after], LARGEST)
    assert list(documents) == [before.id, after.id]
    assert list(reasons) == [event.id]
    return reasons[event.id]


def nested(levels: int) -> Event:
    """Make an event whose document has that many levels: two are the document and `data`."""
    data: dict[str, Any] = {}
    for _ in range(levels - 2):
        data = {"a": data}
    return Event(name="deep", data=data)


def test_the_id_is_the_key_and_stored_once() -> None:
    """`_id` is the event's id as a UUID, comes first, and there is no `id`."""
    event = Event(name="a", context={"user_id": 1}, data={"x": [1, 2]}, extra={"version": 3})
    found = stored(event)
    assert found["_id"] == uuid.UUID(event.id)
    assert list(found) == ["_id", "name", "timestamp", "context", "data", "version"]
    assert (found["context"], found["data"], found["version"]) == ({"user_id": 1}, {"x": [1, 2]}, 3)


@pytest.mark.parametrize(
    "event_id", ["order-17", "", "0190D7B6-6F3A-7CC3-98C4-DC0C0C07398F", "{x}"]
)
def test_an_id_that_is_no_uuid_stays_text(event_id: str) -> None:
    """Another id, and a UUID in another spelling, is stored as it is, so that it can be found."""
    assert stored(Event(name="a", id=event_id))["_id"] == event_id


def test_an_extra_key_does_not_take_the_ids_place() -> None:
    """An extra key `_id` is kept beside it."""
    event = Event(name="a", extra={"_id": "mine"})
    assert stored(event)["_id"] == uuid.UUID(event.id)
    assert stored(event)["_id#2"] == "mine"


def test_times_are_dates() -> None:
    """Times are dates to the millisecond, and aware when read; a date without a time is
    ISO text.
    """
    moment = datetime(2026, 3, 29, 3, 59, 59, 123_456, tzinfo=timezone(timedelta(hours=2)))
    found = stored(Event(name="a", timestamp=moment, data={"at": moment, "day": date(2026, 2, 28)}))
    expected = datetime(2026, 3, 29, 1, 59, 59, 123_000, tzinfo=UTC)
    assert (found["timestamp"], found["data"]) == (expected, {"at": expected, "day": "2026-02-28"})


def test_values_keep_their_types() -> None:
    """64-bit integers, floats, bytes, UUIDs, NaN and odd keys are stored as they are; a lone
    surrogate is mended.
    """
    data = {
        "max": 2**63 - 1,
        "min": -(2**63),
        "raw": b"\x00\xff",
        "user": uuid.uuid4(),
        "$set": 1,
        "a.b": 2,
        "": 3,
    }
    found = stored(Event(name="a", data={**data, "nan": math.nan, "half": "\ud83d"}))["data"]
    assert math.isnan(found.pop("nan"))
    assert found.pop("half") == "\\ud83d"
    assert found == data


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 10**40])
def test_an_integer_that_is_too_large(number: int) -> None:
    """An integer over 64 bits is refused, wherever it is, and the others of the batch are not."""
    assert refused(Event(name="a", data={"deep": [{"er": number}]})).startswith(
        "an integer of more than 64 bits"
    )
    assert refused(Event(name="a", context={"n": number})).startswith(
        "an integer of more than 64 bits"
    )


def test_a_time_that_is_no_date() -> None:
    """A time that is before the year 1 in UTC is stored as its text."""
    moment = datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14)))
    found = stored(Event(name="a", data={"at": moment}))["data"]["at"]
    assert found == "0001-01-01T00:00:00+14:00"


def test_a_key_with_nul() -> None:
    """A key that holds NUL is refused, and its text does not stand in the reason."""
    assert refused(Event(name="a", data={"se\x00cret": 1})) == "a key holds the character NUL"
    assert refused(Event(name="a", extra={"se\x00cret": 1})) == "a key holds the character NUL"


def test_depth() -> None:
    """A document of 100 levels is taken, of 101 refused, however they are nested."""
    assert stored(nested(MAX_DEPTH))["name"] == "deep"
    assert (
        refused(nested(MAX_DEPTH + 1)) == "nested deeper than MongoDB takes: more than 100 levels"
    )
    lists: list[Any] = []
    for _ in range(MAX_DEPTH):
        lists = [lists]
    assert "nested deeper" in refused(Event(name="a", data={"lists": lists}))


@pytest.mark.parametrize("levels", [201, 700, 5_000])
def test_depth_that_exhausts_an_encoder(levels: int) -> None:
    """However deep an event is, it alone is refused."""
    assert "nested deeper than MongoDB takes" in refused(nested(levels))


def test_a_cycle_is_mended() -> None:
    """Data that holds itself, which only a processor can make, is stored with a mark in
    that place.
    """
    data: dict[str, Any] = {"n": 1}
    data["self"] = data
    assert stored(Event(name="a", data=data))["data"] == {"n": 1, "self": "<cycle: builtins.dict>"}


@pytest.mark.parametrize("kind", SAMPLE_DATA)
def test_it_says_what_to_dict_says(kind: str) -> None:
    """The quick way, without a copy, makes the same document as `to_dict`, whatever kind the data
    are.
    """
    event = sample_event(kind)
    expected = event.to_dict()
    expected["_id"] = uuid.UUID(expected.pop("id"))
    if kind == "datetime":
        expected["data"]["day"] = expected["data"]["day"].isoformat()
    assert stored(event) == expected


def test_wide_is_not_deep() -> None:
    """Thousands of containers beside each other are no depth."""
    assert (
        len(
            stored(Event(name="a", data={"rows": [{"n": [1]} for _ in range(3_000)]}))["data"][
                "rows"
            ]
        )
        == 3_000
    )


def test_size() -> None:
    """A document of exactly the server's limit is taken, and one byte more refused, with both
    numbers.
    """
    event = Event(name="a", data={"text": ""})
    free = LARGEST - len(encode_batch([event], LARGEST)[0][event.id].raw)
    assert len(stored(event.replace(data={"text": "x" * free}))["data"]["text"]) == free
    reason = refused(event.replace(data={"text": "x" * (free + 1)}))
    assert reason == "larger than MongoDB takes: 16777217 bytes of BSON, at most 16777216"


def test_events_are_not_changed() -> None:
    """Encoding neither adds a key to an event nor takes one."""
    events = [
        Event(name="a", data={"x": {"y": [1]}}, extra={"_id": 1}),
        Event(name="b", data={"n": 2**70}),
    ]
    before = copy.deepcopy(events)
    encode_batch(events, LARGEST)
    assert events == before
