"""The codec keeps what an event holds, in few bytes, and says what it cannot read."""

from __future__ import annotations

import math
import pickle
import uuid
from datetime import date, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventtracking import Event
from eventtracking_buffer import codec

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
