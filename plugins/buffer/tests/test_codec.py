"""The codec keeps what an event holds, in few bytes, and says what it cannot read."""

from __future__ import annotations

import enum
import math
import pickle
import uuid
from datetime import date, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventtracking import Event
from eventtracking_buffer import codec


class Colour(str, enum.Enum):
    """Text that is no plain text."""

    RED = "red"


class Text(str):
    """Text that is no plain text."""

    __slots__ = ()


_scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters())
    | st.binary(max_size=20)
    | st.dates()
    | st.uuids()
    | st.datetimes()
    | st.datetimes(
        timezones=st.sampled_from([timezone.utc, timezone(timedelta(hours=5, minutes=30))])
    )
)
_text = st.text(st.characters(), max_size=10)
_data = st.dictionaries(
    _text,
    st.recursive(
        _scalars, lambda inner: st.lists(inner) | st.dictionaries(_text, inner), max_leaves=10
    ),
)


@pytest.mark.timeout(180)
@settings(max_examples=50, deadline=None)
@given(data=_data, extra=_data)
def test_what_an_event_may_hold_survives(data: dict[str, object], extra: dict[str, object]) -> None:
    """Any event comes back equal, and with its types."""
    event = Event(name="a.b", data=data, context=data, extra=extra)
    back = codec.decode(codec.encode(event))
    assert back == event
    assert repr(back.data) == repr(event.data).replace(
        ", fold=1, tzinfo=datetime.timezone.utc", ", tzinfo=datetime.timezone.utc"
    )


def _exactly(value: object) -> object:
    """Return a value with the type of each part, so that only the same one is equal."""
    if isinstance(value, dict):
        return dict, [(_exactly(key), _exactly(item)) for key, item in value.items()]
    if isinstance(value, list | tuple):
        return type(value), [_exactly(item) for item in value]
    return type(value), repr(value)


_hostile = st.recursive(
    _scalars
    | st.floats()
    | st.sampled_from(
        [1 << 63, 1 << 64, -(1 << 63) - 1, Colour.RED, Text("a"), {1}, b"", "\ud800"]
    ),
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner, inner)
        | st.dictionaries(_text | st.integers() | st.uuids() | st.binary(max_size=3), inner)
    ),
    max_leaves=10,
)
_parts = st.dictionaries(_text | st.integers() | st.just(Text("k")), _hostile, max_size=3)


@settings(max_examples=100, deadline=None)
@given(parts=st.tuples(_parts, _parts, _parts), name=_text, event_id=_text | st.just("i"))
def test_what_is_called_equal_is_what_decoding_gives(
    parts: tuple[dict[Any, Any], ...], name: str, event_id: str
) -> None:
    """An event whose encoding is called exact comes back with the same value and type in each part,
    whatever a processor may have put in: it may be delivered without being decoded.
    """
    context, data, extra = parts
    moment = datetime(2026, 1, 1, tzinfo=timezone.utc)
    event = Event(id=event_id, name=name, timestamp=moment, context=context, data=data, extra=extra)
    payload, is_equal = codec.encode_exactly(event)
    if not is_equal:
        return
    back = codec.decode(payload)
    for field in ("id", "name", "timestamp", "context", "data", "extra"):
        assert _exactly(getattr(back, field)) == _exactly(getattr(event, field))


def test_a_common_event_is_called_equal() -> None:
    """Text, numbers, times in UTC, lists and mappings need no decoding."""
    now = datetime.now(timezone.utc)
    values = {"a": "ü", "n": -1, "f": 1.5, "t": True, "o": None, "b": b"x", "at": now, "l": [{}]}
    assert codec.encode_exactly(Event(name="a", data=values, context=values))[1]


@pytest.mark.parametrize("key", [1, 1.5, None, b"k", (1, 2), uuid.UUID(int=1)])
def test_a_key_that_is_no_text_loses_no_event(key: object) -> None:
    """A processor's odd keys become text, at the top and below."""
    data: dict[Any, Any] = {key: 1, "below": {"x": {key: 2}}, "n": 3}
    back = codec.decode(codec.encode(Event(name="a", data=data)))
    assert back.data["n"] == 3


def test_the_awkward_values_survive() -> None:
    """Lone surrogates, huge numbers, NaN, offsets, surrogates in keys and deep nesting come back as
    they were.
    """
    deep: dict[str, object] = {}
    for _ in range(95):
        deep = {"d": [deep]}
    data = {
        "surrogate": "\ud800",
        "\udfff": 1,
        "big": 1 << 200,
        "negative": -(1 << 64),
        "offset": datetime(2026, 1, 1, 12, 30, tzinfo=timezone(timedelta(hours=-8))),
        "naive": datetime(2026, 1, 1, 12, 30, 1, 7),
        "date": date(2026, 1, 1),
        "uuid": uuid.UUID(int=7),
        "bytes": b"\x00\xff",
        "nan": math.nan,
    }
    back = codec.decode(codec.encode(Event(name="a", data={**data, "deep": deep}))).data
    assert math.isnan(back.pop("nan"))
    assert back.pop("deep") == deep
    assert back == {key: value for key, value in data.items() if key != "nan"}
    assert back["offset"].utcoffset() == timedelta(hours=-8)


def test_a_processors_odd_values_are_mended() -> None:
    """What no event should hold, because a processor put it there, does not lose the event."""
    cycle: dict[str, object] = {}
    cycle["again"] = cycle
    back = codec.decode(
        codec.encode(Event(name="a", data={"set": {1}, "object": object(), "cycle": cycle, "n": 1}))
    )
    assert back.data["n"] == 1
    assert back.data["set"] == [1]


@pytest.mark.parametrize(
    ("payload", "version"), [(b"", None), (b"\x01", None), (b"\x01\x93abc", None), (b"\x02\x00", 2)]
)
def test_what_cannot_be_read_is_told(payload: bytes, version: int | None) -> None:
    """Damaged bytes and newer formats raise one error that tells which, and pickles."""
    with pytest.raises(codec.FormatError) as raised:
        codec.decode(payload)
    error = pickle.loads(pickle.dumps(raised.value))
    assert error.version == version
    assert str(error) == str(raised.value)
