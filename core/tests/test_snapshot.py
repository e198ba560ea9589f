"""The snapshot: whatever a caller passes becomes plain data, and nothing raises or crashes."""

from __future__ import annotations

import collections
import dataclasses
import enum
import json
import threading
import types
import uuid
from collections.abc import Iterator, Mapping
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import PurePath
from typing import Any

import attrs
import msgspec
import pytest
from eventtracking_fakes import RECORDED
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eventtracking import Event, Tracker
from eventtracking._data.copy import MAX_DEPTH, MAX_VALUES
from eventtracking._data.snapshot import snapshot


class Text(str):
    """A subclass, as template engines have."""

    __slots__ = ()


class Number(int):
    def __int__(self) -> int:
        raise RuntimeError


class Moment(datetime):
    """A subclass, as freezing libraries have."""


class Table(dict[str, Any]):
    def items(self) -> Any:
        raise RuntimeError


class Row(list[Any]):
    def __iter__(self) -> Iterator[Any]:
        raise RuntimeError


class Colour(enum.Enum):
    RED = "red"
    NESTED = ("a", {"b": 1})


class Flag(enum.IntEnum):
    UP = 1


@dataclasses.dataclass
class Point:
    x: Any = 1


@attrs.define
class Place:
    x: Any = 1


class Record(msgspec.Struct):
    x: Any = 1


class Evil:
    def __repr__(self) -> str:
        raise RuntimeError

    __str__ = __repr__


class Liar:
    @property  # type: ignore[misc]  # that is the lie
    def __class__(self) -> Any:
        raise RuntimeError


class LyingText:
    @property  # type: ignore[misc]  # that is the lie
    def __class__(self) -> Any:
        return str

    def __str__(self) -> str:
        return "shown"


class BrokenMapping(Mapping[str, Any]):
    def __getitem__(self, key: str) -> Any:
        raise RuntimeError

    def __iter__(self) -> Iterator[str]:
        return iter("ab")

    def __len__(self) -> int:
        return 2


class EndlessMapping(Mapping[int, int]):
    def __getitem__(self, key: int) -> int:
        return key

    def __iter__(self) -> Iterator[int]:
        number = 0
        while True:
            yield (number := number + 1)

    def __len__(self) -> int:
        return 1


class Index:
    def __index__(self) -> int:
        return 5


UTC = timezone.utc


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Text("a"), "a"),
        (Number(5), 5),
        (Moment(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 1, tzinfo=UTC)),
        (Table(a=1), {"a": 1}),
        (Row([1]), [1]),
        (Colour.RED, "red"),
        (Colour.NESTED, ["a", {"b": 1}]),
        (Flag.UP, 1),
        (Point([1]), {"x": [1]}),
        (Place({1}), {"x": [1]}),
        (Record(1), {"x": 1}),
        ((1, (2,)), [1, [2]]),
        (range(3), [0, 1, 2]),
        (types.MappingProxyType({"a": 1}), {"a": 1}),
        (collections.UserString("lazy"), "lazy"),
        (Index(), 5),
        (Decimal("1.50"), "1.50"),
        (timedelta(days=1), "P1D"),
        (time(1, 2), "01:02:00"),
        (date(2024, 1, 1), date(2024, 1, 1)),
        (uuid.UUID(int=1), uuid.UUID(int=1)),
        (b"x", b"x"),
        (bytearray(b"x"), "eA=="),
        (
            {5: 1, None: 2, True: 3, 1.5: 4, b"x": 5},
            {"5": 1, "null": 2, "true": 3, "1.5": 4, "eA==": 5},
        ),
        ({Colour.RED: 1, Flag.UP: 2}, {"red": 1, "1": 2}),
        ({1: "a", "1": "b"}, {"1": "a", "1#2": "b"}),
        (2**70, 2**70),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_type_has_its_plain_form(value: Any, expected: Any) -> None:
    """Subclasses become their base, containers plain containers, what JSON-like data has no word
    for its text.
    """
    found = snapshot({"v": value}).value["v"]
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    "make",
    [
        threading.Lock,
        iter,
        object,
        lambda: object,
        lambda: print,
        Evil,
        Liar,
        BrokenMapping,
        lambda: 1j,
    ],
)
def test_what_has_no_plain_form_is_marked_and_reported(make: Any) -> None:
    """The mark names the type, and no code of the value runs for it."""
    found, problems = snapshot([make([]) if make is iter else make()])
    assert problems == (found[0],)
    assert found[0].startswith("<unrepresentable ")


def test_a_proxy_of_text_is_the_text_that_it_shows() -> None:
    """As lazy translations are."""
    assert snapshot(LyingText()) == ("shown", ())


def test_cycles_depth_and_size_are_bounded() -> None:
    """Each becomes a mark where it starts; the rest of the data stays."""
    cycle: list[Any] = [1]
    cycle.append(cycle)
    assert snapshot(cycle) == ([1, "<cycle: builtins.list>"], ("<cycle: builtins.list>",))
    deep: Any = "bottom"
    for _ in range(100_000):
        deep = [deep]
    found, problems = snapshot(deep)
    assert problems == ("<too deep: builtins.list>",)
    depth = 0
    while isinstance(found, list):
        found, depth = found[0], depth + 1
    assert depth == MAX_DEPTH
    endless = snapshot(EndlessMapping())
    assert endless.problems == ("<too many values: builtins.int>",)
    assert MAX_VALUES - 1 <= len(endless.value) <= MAX_VALUES + 1


def test_the_same_list_twice_is_no_cycle() -> None:
    """Only what contains itself is one."""
    shared = [Text("x")]
    assert snapshot([shared, shared]) == ([["x"], ["x"]], ())


def test_code_of_the_caller_may_change_the_list_that_is_copied() -> None:
    """A dataclass whose attributes clear the list around it crashes nothing and loses nothing."""
    around: list[Any] = []

    @dataclasses.dataclass
    class Clearing:
        x: int = 1

        def __getattribute__(self, name: str) -> Any:
            around.clear()
            return object.__getattribute__(self, name)

    around.extend([Clearing(), *(f"member {n}" for n in range(100))])
    found = snapshot({"around": around}).value["around"]
    assert len(found) == 101
    assert around == []


def test_a_list_that_another_thread_changes_is_copied() -> None:
    """Appending and clearing in one thread while another emits neither raises nor crashes."""
    shared: dict[str, Any] = {"list": [], "dict": {}}
    stop = threading.Event()

    def change() -> None:
        while not stop.is_set():
            shared["list"].extend([Text("x"), "y", [1]])
            shared["dict"][Text(len(shared["list"]))] = ["z"]
            if len(shared["list"]) > 100:
                shared["list"].clear()
                shared["dict"].clear()

    made = Tracker.from_config({"backends": {"a": {"plugin": "recording"}}})
    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(2_000):
            made.emit("x", shared)
    finally:
        stop.set()
        thread.join()
    assert made.stats()["a"].delivered == 2_000


ODD: list[Any] = [
    threading.Lock(),
    iter(()),
    Evil(),
    Liar(),
    LyingText(),
    BrokenMapping(),
    Text("x"),
    Number(4),
    Table(a=1),
    Row([1]),
    Colour.RED,
    Colour.NESTED,
    Flag.UP,
    Record(1),
    object(),
    object,
    int,
    print,
    types,
    bytearray(b"x"),
    memoryview(b"x"),
    range(5),
    PurePath("x"),
    ValueError("x"),
    types.SimpleNamespace(a=1),
    types.MappingProxyType({"a": 1}),
    collections.deque([1]),
    collections.OrderedDict(a=1),
    collections.Counter("a"),
    collections.ChainMap({"a": 1}),
    collections.UserString("x"),
    collections.UserDict(a=1),
    "\ud800",
    float("nan"),
    2**64,
    -(2**63) - 1,
    NotImplemented,
    Ellipsis,
    msgspec.UNSET,
    Moment(2024, 1, 1),
    Index(),
    frozenset({1}),
]
ODD_KEYS: list[Any] = [
    Evil(),
    Colour.RED,
    Text("x"),
    object(),
    "\ud800",
    date(2024, 1, 1),
    Flag.UP,
    (1, 2),
    frozenset(),
]

_scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=10**4400, max_value=10**4400 + 9),
    st.floats(),
    st.text(),
    st.text(alphabet=st.characters()),
    st.binary(),
    st.decimals(),
    st.datetimes(),
    st.datetimes(timezones=st.timezones()),
    st.dates(),
    st.times(),
    st.timedeltas(),
    st.uuids(),
    st.complex_numbers(),
    st.fractions(),
    st.integers(0, 10**6).map(lambda index: ODD[index % len(ODD)]),
)
_keys = st.one_of(
    st.text(),
    st.integers(),
    st.none(),
    st.booleans(),
    st.floats(),
    st.binary(),
    st.uuids(),
    st.tuples(st.integers()),
    st.integers(0, 10**6).map(lambda index: ODD_KEYS[index % len(ODD_KEYS)]),
)
_values = st.recursive(
    _scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.tuples(inner, inner),
        st.dictionaries(_keys, inner, max_size=4),
        inner.map(Point),
        inner.map(Place),
        inner.map(Record),
        inner.map(lambda v: Table(k=v)),
        inner.map(lambda v: Row([v])),
    ),
    max_leaves=12,
)


def check_any_value(tracker: Tracker, name: Any, data: Any) -> None:
    RECORDED.clear()
    before = tracker.stats()["a"].delivered
    tracker.emit(name, data)
    with tracker.context(data):
        tracker.emit("x", data)
    events = RECORDED[""]
    assert len(events) == 2
    assert tracker.stats()["a"].delivered == before + 2
    for event in events:
        assert type(event.name) is str
        assert type(event.data) is dict
        line = event.to_json()
        line.encode()
        json.loads(line)
        assert Event.from_dict(event.to_dict()).to_json() == line


def test_each_odd_value_is_an_event() -> None:
    """Also as the name, and as a context."""
    tracker = Tracker.from_config({"backends": {"a": {"plugin": "recording"}}})
    for index in range(len(ODD)):
        check_any_value(tracker, ODD[index], ODD[index])


def _fuzz(examples: int) -> None:
    tracker = Tracker.from_config({"backends": {"a": {"plugin": "recording"}}})

    @settings(
        max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(st.data())
    def run(data: st.DataObject) -> None:
        check_any_value(tracker, data.draw(_values), data.draw(_values))

    run()
    stats = tracker.stats()
    assert all(counts.balanced for counts in stats.values())
    assert stats[""].failed == 0


@pytest.mark.timeout(180)
def test_any_value_is_an_event() -> None:
    """Whatever is given as name, data and context: emit does not raise, and the event arrives and
    can be written.
    """
    _fuzz(300)


@pytest.mark.fuzz
def test_a_hundred_thousand_values_are_events() -> None:
    """The same with 100,000 values (two in each example)."""
    _fuzz(50_000)
