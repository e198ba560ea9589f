"""Values with a plain form keep it; every other value is marked and counted."""

from __future__ import annotations

import array
import collections
import dataclasses
import fractions
import ipaddress
import json
import os
import pathlib
import subprocess
import sys
import types
import uuid
from collections.abc import Callable
from datetime import date, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pydantic
import pytest
import uuid_utils
from eventtracking_fakes import RECORDED
from hypothesis import given, settings
from hypothesis import strategies as st

from eventtracking import DataError, Event, Tracker
from eventtracking._data.copy import MAX_VALUES

UTC = timezone.utc


def make(**top: Any) -> Tracker:
    return Tracker.from_config({**top, "backends": {"a": {"plugin": "recording", "key": ""}}})


def captured(value: Any) -> tuple[Any, dict[str, int]]:
    """What an event holds of a value, and what the counts say."""
    tracker = make()
    tracker.emit("x", {"v": value})
    return RECORDED[""][-1].data["v"], dict(tracker.stats()[""].reasons)


class Model(pydantic.BaseModel):
    a: int = 1
    when: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    inner: list[Any] = []


class Root(pydantic.RootModel[list[int]]):
    pass


@dataclasses.dataclass
class Login:
    user: str
    password: pydantic.SecretStr


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.bool_(True), True),
        (np.array([1, 2])[0] > 5, False),
        (np.int8(-3), -3),
        (np.uint64(2**64 - 1), 2**64 - 1),
        (np.float32(0.5), 0.5),
        (np.float64(1e300), 1e300),
        (np.longdouble("0.25"), 0.25),
        (np.str_("x"), "x"),
        (np.bytes_(b"x"), b"x"),
        (fractions.Fraction(1, 4), 0.25),
        (
            Model(inner=[Root([1])]),
            {"a": 1, "when": datetime(2026, 1, 1, tzinfo=UTC), "inner": [[1]]},
        ),
        (Root([1, 2]), [1, 2]),
        (pydantic.AnyUrl("https://a.b/c"), "https://a.b/c"),
        (pathlib.PurePosixPath("/a/b"), "/a/b"),
        (pathlib.Path("x"), "x"),
        (ipaddress.ip_address("1.2.3.4"), "1.2.3.4"),
        (ipaddress.ip_address("::1"), "::1"),
        (ipaddress.ip_network("10.0.0.0/8"), "10.0.0.0/8"),
        (ipaddress.ip_interface("10.0.0.1/8"), "10.0.0.1/8"),
        (collections.deque([1, [2]]), [1, [2]]),
        (collections.UserList([1]), [1]),
        (array.array("i", [1, 2]), [1, 2]),
        ({"a": 1}.values(), [1]),
        ({"a": 1}.keys(), ["a"]),
        ({"a": 1}.items(), [["a", 1]]),
        (collections.OrderedDict(a=1).values(), [1]),
        (types.SimpleNamespace(a=(1,)), {"a": [1]}),
        (ZoneInfo("Europe/Berlin"), "Europe/Berlin"),
        (uuid_utils.UUID(int=5), uuid.UUID(int=5)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_with_a_plain_form_keeps_it(value: Any, expected: Any) -> None:
    """The plain form is of the exact builtin type, and nothing is reported."""
    found, reasons = captured(value)
    assert (found, type(found), reasons) == (expected, type(expected), {})


@pytest.mark.parametrize(
    "value",
    [
        np.datetime64("2026-03-01T12:00:00", "ns"),
        np.datetime64("2026-03-01", "s"),
        np.datetime64("NaT", "s"),
        np.timedelta64(90, "s"),
        np.timedelta64(90, "ns"),
        np.complex128(1 + 2j),
        np.longdouble("1e400"),
        np.ma.array(5, mask=True),
        np.array([1, 2]),
        np.array(5),
        np.void(b"x"),
        1j,
        fractions.Fraction(10**400),
        pydantic.SecretStr("hunter2"),
        pydantic.SecretBytes(b"hunter2"),
        (number for number in [1]),
        map(str, [1]),
        ValueError("hunter2"),
        slice(1, 2),
        10**5_000,
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_without_a_plain_form_is_marked_and_counted(value: Any) -> None:
    """The mark names the type and shows nothing of the value; strict mode raises."""
    found, reasons = captured(value)
    assert found.startswith("<")
    assert list(reasons.values()) == [1]
    assert "hunter2" not in found + str(reasons)
    with pytest.raises(DataError):
        make(strict=True).emit("x", {"v": value})


def test_the_data_chooses_no_reason() -> None:
    """Values of many sizes share a reason, so that a sender cannot fill the places for others."""
    tracker = make()
    for number in range(70):
        tracker.emit("n" * (2_000 + number), {"v": 1 << (20_000 + number)})
    assert len(tracker.stats()[""].reasons) == 2


def test_a_secret_inside_stays_marked() -> None:
    """The fields beside a secret keep their plain form."""
    found, reasons = captured(Login("mara", pydantic.SecretStr("hunter2")))
    assert (found["user"], found["password"]) == (
        "mara",
        "<unrepresentable pydantic.types.SecretStr>",
    )
    assert len(reasons) == 1


MOMENTS = [
    datetime(1900, 1, 1, tzinfo=ZoneInfo("Europe/Amsterdam")),
    datetime(1970, 6, 1, tzinfo=ZoneInfo("Africa/Monrovia")),
    datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(seconds=3661))),
    datetime(2026, 1, 1, tzinfo=timezone(timedelta(microseconds=1))),
    datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=0),
    datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=1),
    datetime(2026, 3, 29, 2, 30),
]


@pytest.mark.parametrize("moment", MOMENTS, ids=str)
def test_a_time_is_the_exact_instant_in_utc(moment: datetime) -> None:
    """Offsets of seconds are not rounded; a time without a zone is in UTC already."""
    exact = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    found, reasons = captured(moment)
    assert (found, found.tzinfo, reasons) == (exact, UTC, {})
    for event in (RECORDED[""][0], Event(name="x", data={"v": found}, timestamp=moment)):
        text = json.loads(event.to_json())["data"]["v"]
        assert datetime.fromisoformat(text.replace("Z", "+00:00")) == exact
    assert Event(name="x", timestamp=moment).timestamp == exact
    assert Event(name="x").replace(timestamp=moment).timestamp == exact
    assert Event.from_dict({"name": "x", "timestamp": moment}).timestamp == exact


@pytest.mark.parametrize(
    "moment",
    [
        datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=5))),
        datetime(9999, 12, 31, 23, tzinfo=timezone(-timedelta(hours=5))),
    ],
    ids=str,
)
def test_a_time_that_utc_has_no_year_for_is_its_text(moment: datetime) -> None:
    """The text keeps the offset; as the time of an event it is refused, and counted."""
    assert captured(moment)[0] == moment.isoformat()
    tracker = make()
    tracker.submit(Event(name="x", timestamp=moment))
    assert abs(RECORDED[""][-1].timestamp - datetime.now(UTC)) < timedelta(minutes=1)
    assert [text for text in tracker.stats()[""].reasons if "time" in text]


FROZEN = """
import datetime, json, sys
from freezegun import freeze_time
if "before" in sys.argv:
    import eventtracking
with freeze_time("2020-02-03 04:05:06"):
    from eventtracking import Event, Tracker
    import eventtracking_fakes
    kinds = reversed(type(datetime.datetime.now()).__mro__)
    real = next(kind for kind in kinds if kind.__name__ == 'datetime')
    tracker = Tracker.from_config({"strict": True, "backends": {"a": {"plugin": "recording"}}})
    now = datetime.datetime.now(datetime.timezone.utc)
    tracker.emit("x", {"now": now, "naive": datetime.datetime.now(), "day": datetime.date.today()})
    tracker.submit(Event(name="x", timestamp=datetime.datetime.now()))
    events = eventtracking_fakes.RECORDED[""]
    data = events[0].data
    assert [type(event.timestamp) is real for event in events] == [True, True], events
    assert [type(value).__name__ for value in data.values()] == ["datetime", "datetime", "date"]
    lines = [event.to_json() for event in events]
    assert events[0].to_dict()["data"] == data
    assert Event.from_dict(json.loads(lines[0])) .timestamp == events[0].timestamp
after = now
tracker.emit("x", {"after": after})
lines.append(eventtracking_fakes.RECORDED[""][2].to_json())
print(json.dumps([json.loads(line) for line in lines]))
"""


@pytest.mark.process
@pytest.mark.parametrize("imported", ["before", "inside"])
@pytest.mark.parametrize("pure", ["", "1"], ids=["used", "python"])
def test_frozen_values_become_genuine_ones(imported: str, pure: str) -> None:
    """A library that freezes time has classes of its own; events hold none of their instances,
    imported before the freeze or within, compiled or not.
    """
    here = pathlib.Path(__file__).parent
    site = f"{here / 'site'}{os.pathsep}{here / 'installed'}"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FROZEN, imported],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": site, "EVENTTRACKING_PURE_PYTHON": pure},
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    first, second, third = json.loads(done.stdout)
    moment = "2020-02-03T04:05:06Z"
    assert [first["timestamp"], second["timestamp"]] == [moment, moment]
    assert first["data"] == {"now": moment, "naive": moment, "day": "2020-02-03"}
    assert third["data"] == {"after": moment}


class Wrapped:
    """A proxy as wrapt and lazy-object-proxy have."""

    def __init__(self, value: Any) -> None:
        self.value = value

    @property
    def __wrapped__(self) -> Any:
        return self.value


def test_proxies_are_the_value_behind_them() -> None:
    """Also one behind another; one without end is marked."""
    assert captured(Wrapped(Wrapped([1]))) == ([1], {})
    endless = Wrapped(None)
    endless.value = endless
    assert captured(endless)[0].startswith("<unrepresentable ")


# An event keeps its identity


@pytest.mark.parametrize("size", [1_025, 80_000])
def test_a_long_name_is_cut_once_and_counted(size: int) -> None:
    """The limit of 1,024 characters holds for emitted and for submitted events."""
    tracker = make()
    tracker.emit("ä" * 1_024)
    tracker.emit("a" * size)
    tracker.submit(Event(name="b" * size))
    assert [len(event.name) for event in RECORDED[""]] == [1_024] * 3
    assert list(tracker.stats()[""].reasons.values()) == [2]
    with pytest.raises(DataError, match="1024"):
        make(strict=True).emit("a" * size)


def test_names_and_ids_are_valid_text() -> None:
    """Lone surrogates become the text of their escape before the event is sent."""
    tracker = make()
    tracker.emit("a\ud800")
    tracker.submit(Event(name="b\udfff", id="c\ud800"))
    assert [event.name for event in RECORDED[""]] == ["a\\ud800", "b\\udfff"]
    assert RECORDED[""][1].id == "c\\ud800"
    assert list(tracker.stats()[""].reasons) == ["mended: the name has lone surrogates"]


_odd = st.one_of(
    st.just("\ud800"),
    st.just(float("nan")),
    st.integers(1 << 64, 1 << 70),
    st.just([0] * 60_000),
    st.just(["x"] * (MAX_VALUES + 1)),
    st.just([[0] * 10_000] * 30),
    st.sampled_from(
        [Wrapped(1), object(), 10**5_000, Decimal := __import__("decimal").Decimal("1.5")]
    ),
)
_parts = st.dictionaries(st.text(st.characters(), max_size=3), _odd, max_size=4)


@pytest.mark.timeout(180)
@pytest.mark.once
@settings(max_examples=15, deadline=None, database=None)
@given(
    name=st.text(st.characters(), min_size=1, max_size=1_024),
    event_id=st.text(st.characters(), min_size=1),
    moment=st.datetimes(
        min_value=datetime(2, 1, 1), max_value=datetime(9998, 1, 1), timezones=st.timezones()
    ),
    data=_parts,
    context=_parts,
    extra=_parts,
)
def test_no_way_out_changes_the_identity(
    name: str, event_id: str, moment: datetime, data: Any, context: Any, extra: Any
) -> None:
    """Name, id and time come out as they are, however large or odd the other parts are."""
    event = Event(name=name, id=event_id, timestamp=moment, data=data, context=context, extra=extra)
    document, parsed = event.to_dict(), json.loads(event.to_json())
    assert event.timestamp == moment
    for out in (document, parsed):
        assert (out["name"], out["id"]) == (event.name, event.id)
    assert document["timestamp"] == event.timestamp
    assert Event.from_dict(parsed).timestamp == event.timestamp
    event.name.encode()
    event.id.encode()


@pytest.mark.parametrize("part", ["data", "context", "extra"])
def test_each_part_has_a_budget_of_its_own(part: str) -> None:
    """One part that is cut takes nothing from the two others, and the cut is counted."""
    small = {"user": 7, "text": "\ud800"}
    parts: dict[str, Any] = {"data": small, "context": small, "extra": small}
    parts[part] = {"pad": [object()] + ["x"] * (MAX_VALUES + 1), **small}
    tracker = make()
    tracker.submit(Event(name="x", id="the id", **parts))
    (event,) = RECORDED[""]
    assert any("too many values" in text for text in tracker.stats()[""].reasons)
    document = event.to_dict()
    assert document["id"] == "the id"
    for found in (document["data"], document["context"], document):
        assert (found["user"], found["text"]) == (7, "\\ud800")


def laugh() -> Any:
    inner: list[Any] = ["lol"]
    for _ in range(9):
        inner = [inner] * 9
    return inner


@pytest.mark.parametrize(
    "pad",
    [
        lambda: [[] for _ in range(MAX_VALUES + 1)],
        lambda: {"deep": [{"k": [0] * 10}] * MAX_VALUES},
        lambda: [[1] * 10_000] * 20_000,
        laugh,
    ],
    ids=["containers", "dicts", "shared", "billion laughs"],
)
def test_the_scalars_of_the_top_level_are_kept(pad: Callable[[], Any]) -> None:
    """Padding never pushes the keys behind it out, in bounded time and memory."""
    found = {"pad": pad(), "user": "mara", "amount": fractions.Fraction(1, 2), "day": date.today()}
    tracker = make()
    tracker.emit("x", found)
    data = RECORDED[""][0].data
    assert {key: data[key] for key in data if key != "pad"} == {
        "user": "mara",
        "amount": 0.5,
        "day": date.today(),
    }
    assert any("too many values" in text for text in tracker.stats()[""].reasons)
    assert len(RECORDED[""][0].to_json()) < 60 * MAX_VALUES


def test_a_top_level_of_many_containers_keeps_its_scalars() -> None:
    """Of more keys than there is room for, those with scalars stay."""
    tracker = make()
    tracker.emit("x", {**{str(key): [] for key in range(MAX_VALUES + 10)}, "user": "mara"})
    assert RECORDED[""][0].data["user"] == "mara"
    assert len(RECORDED[""][0].data) == MAX_VALUES + 1
    assert list(tracker.stats()[""].reasons) == ["mended: <too many values: builtins.list>"]
