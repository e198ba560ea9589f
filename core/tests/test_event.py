"""The event: its two ways out, and its way back in."""

from __future__ import annotations

import copy
import json
import os
import pickle
import uuid
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from eventtracking import Event
from eventtracking.event import new_event_id

MOMENT = datetime(2024, 2, 29, 12, 0, 0, 5, tzinfo=timezone.utc)
ODD: dict[str, Any] = {
    "uuid": uuid.UUID(int=7),
    "time": MOMENT,
    "date": date(2024, 2, 29),
    "bytes": b"\xff",
    "nan": float("nan"),
    "surrogate": "a\ud800b",
    "big": 2**70,
    "umlaut": "ü \u2028 \n",
    "decimal": Decimal("1.50"),
    "set": {1},
    "tuple": (1, [2]),
}


def event(**data: Any) -> Event:
    return Event(id="1", name="x", timestamp=MOMENT, context={"c": 1}, data=data)


def test_json_is_one_line_in_a_fixed_order() -> None:
    """name, timestamp (RFC 3339), context, data, id, then the extra keys."""
    line = event(a=1).replace(extra={"more": 2, "name": "never"}).to_json()
    assert line == (
        '{"name":"x","timestamp":"2024-02-29T12:00:00.000005Z","context":{"c":1},"data":{"a":1},"id":"1","more":2}'
    )


@pytest.mark.parametrize("key", ODD)
def test_json_holds_everything(key: str) -> None:
    """Each odd value has a text form that is valid JSON and valid UTF-8, on one line."""
    line = event(**{key: ODD[key]}).to_json()
    assert "\n" not in line
    line.encode()
    expected = {
        "uuid": "00000000-0000-0000-0000-000000000007",
        "time": "2024-02-29T12:00:00.000005Z",
        "date": "2024-02-29",
        "bytes": "/w==",
        "nan": None,
        "surrogate": "a\\ud800b",
        "big": 2**70,
        "umlaut": "ü \u2028 \n",
        "decimal": "1.50",
        "set": [1],
        "tuple": [1, [2]],
    }
    assert json.loads(line)["data"] == {key: expected[key]}


def test_json_holds_all_of_it_together() -> None:
    """The slow way writes the same as the fast one."""
    together = json.loads(event(**ODD).to_json())["data"]
    assert together == {
        key: json.loads(event(**{key: value}).to_json())["data"][key] for key, value in ODD.items()
    }


def test_a_dict_of_its_own() -> None:
    """`to_dict` keeps native types, and shares nothing that can change with the event."""
    one = event(a=[1], **ODD)
    before = copy.deepcopy(one.data)
    document = one.to_dict()
    assert list(document) == ["name", "timestamp", "context", "data", "id"]
    assert document["data"]["uuid"] == ODD["uuid"]
    assert document["timestamp"] is MOMENT
    document["data"]["a"].append(2)
    document["context"]["c"] = 2
    document["_id"] = 1
    assert one.data["a"] == before["a"]
    assert one.context == {"c": 1}


def test_text_in_a_dict_is_valid_unicode() -> None:
    """Lone surrogates become the text of their escape in both ways out, so that stores agree."""
    assert event(s="a\ud800b").to_dict()["data"] == {"s": "a\\ud800b"}
    assert event(**{"\udfff": 1}).to_dict()["data"] == {"\\udfff": 1}


def test_back_from_a_dict() -> None:
    """What `to_json` wrote is read back; unknown keys become extra."""
    one = event(a=1).replace(extra={"more": 2})
    assert Event.from_dict(json.loads(one.to_json())) == one
    assert Event.from_dict(one.to_dict()) == one


def test_back_from_a_document_with_only_a_name() -> None:
    """Id and time are made; a naive time is taken for UTC."""
    assert len(Event.from_dict({"name": "x"}).id) == 36
    naive = Event.from_dict({"name": "x", "timestamp": "2024-02-29T12:00:00"})
    assert naive.timestamp == datetime(2024, 2, 29, 12, tzinfo=timezone.utc)
    west = Event.from_dict(
        {"name": "x", "timestamp": datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=-5)))}
    )
    assert west.timestamp.isoformat() == "2024-01-01T05:00:00+00:00"


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({}, "an event needs a `name` that is text"),
        ({"name": 5}, "an event needs a `name` that is text"),
        ({"name": "x", "data": [1]}, "the event's `data` must be a mapping, not list"),
        (
            {"name": "x", "timestamp": "yesterday"},
            "the event's `timestamp` must be a datetime or RFC 3339 text",
        ),
    ],
)
def test_what_is_no_event_is_refused(document: dict[str, Any], message: str) -> None:
    """With what is wrong."""
    with pytest.raises(ValueError, match="^" + message.replace(".", r"\.")):
        Event.from_dict(document)


def test_events_pickle_and_compare() -> None:
    """They are values."""
    assert pickle.loads(pickle.dumps(event(a=1))) == event(a=1)


@pytest.mark.process
def test_ids_sort_by_time_and_survive_forks() -> None:
    """UUIDv7; a forked child makes other ids than its parent, though it inherits the generator."""
    ids = [new_event_id() for _ in range(1_000)]
    assert ids == sorted(ids)
    reading, writing = os.pipe()
    for _ in range(4):
        if os.fork() == 0:
            os.write(writing, "".join(new_event_id() for _ in range(50)).encode())
            os._exit(0)
    for _ in range(4):
        os.wait()
    os.close(writing)
    text = b""
    while chunk := os.read(reading, 65536):
        text += chunk
    os.close(reading)
    made = [text[i : i + 36].decode() for i in range(0, len(text), 36)]
    made += [new_event_id() for _ in range(50)]
    assert len(made) == len(set(made)) == 250
