"""The compiled form of capturing does what the one in Python does, and keeps nothing that it should
let go.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import uuid
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventtracking import Event
from eventtracking._data import copy as _copy
from eventtracking._data.capture import capture, capture_in_python
from eventtracking._data.copy import MAX_DEPTH, MAX_VALUES, copy_in_python, fast_copy

HERE = Path(__file__).resolve().parent
CAN_COMPILE = bool(
    os.environ.get("EVENTTRACKING_PURE_PYTHON") != "1"
    and (shutil.which("cc") or shutil.which("gcc"))
    and Path(sysconfig.get_paths()["include"], "Python.h").exists()
)
compiled = pytest.mark.skipif(not (_copy.IS_COMPILED or CAN_COMPILE), reason="there is no compiler")


class Text(str):
    __slots__ = ()


class Later(datetime):
    pass


class Richer(Event):
    pass


def result_of(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function returns, or the type of what it raises."""
    try:
        return function(*arguments)
    except (TypeError, RecursionError) as error:
        return type(error)


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal, in their types and order as well."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return one is other or bool(one == other)


@compiled
def test_it_is_here() -> None:
    """Where there is a compiler, the installation has the compiled form, and uses it."""
    assert _copy.IS_COMPILED
    assert fast_copy is not copy_in_python
    assert capture is not capture_in_python


_scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.binary(),
    st.datetimes(),
    st.datetimes(timezones=st.sampled_from([timezone.utc, timezone(timedelta(hours=1))])),
    st.sampled_from([1 << 63, 1 << 13_999, 1 << 14_001, -(1 << 14_001)]),
    st.dates(),
    st.uuids(),
    st.sampled_from(
        [object(), Text("x"), Later(2026, 1, 1), 1j, timedelta(1), {1}, range(2), bytearray(b"x")]
    ),
)
_values = st.recursive(
    _scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=5),
        st.tuples(inner),
        st.dictionaries(st.one_of(st.text(max_size=3), st.integers(0, 1)), inner, max_size=5),
    ),
    max_leaves=25,
)


@pytest.mark.timeout(180)
@settings(max_examples=200, deadline=None, database=None)
@given(_values)
def test_both_copy_and_refuse_the_same(value: Any) -> None:
    """Equal values of equal types in equal order, or the same refusal."""
    assert same(result_of(fast_copy, value), result_of(copy_in_python, value))


@pytest.mark.parametrize("copy", [copy_in_python, fast_copy], ids=["python", "used"])
@pytest.mark.parametrize(
    "wrap", [lambda v: [v], lambda v: (v,), lambda v: {"k": v}], ids=["list", "tuple", "dict"]
)
def test_both_end_at_the_same_depth(copy: Any, wrap: Any) -> None:
    """As many containers in each other as the slow path copies pass, and one more does not."""
    value: Any = "bottom"
    for _ in range(MAX_DEPTH):
        value = wrap(value)
    assert result_of(copy, value) not in (TypeError, RecursionError)
    assert result_of(copy, wrap(value)) is RecursionError


@pytest.mark.parametrize("copy", [copy_in_python, fast_copy], ids=["python", "used"])
def test_both_end_at_the_same_size(copy: Any) -> None:
    """Every value counts, as often as it is held; what is held many times is not walked first."""
    shared = [0] * 1_000
    for wrap in (list, tuple, lambda values: dict.fromkeys(map(str, values))):
        assert result_of(copy, wrap(range(MAX_VALUES))) is not TypeError
        assert result_of(copy, wrap(range(MAX_VALUES + 1))) is TypeError
    assert result_of(copy, [shared] * (MAX_VALUES // 1_001)) is not TypeError
    assert result_of(copy, [shared] * (MAX_VALUES // 1_001 + 1)) is TypeError


@pytest.mark.parametrize("make", [capture_in_python, capture], ids=["python", "used"])
def test_an_event_is_made(make: Any) -> None:
    """With a copy of the data, the very context, a new id and the clock's time."""

    class Clock:
        @staticmethod
        def now(zone: Any) -> datetime:
            return datetime(2026, 1, 2, tzinfo=zone)

    data, context = {"a": [1]}, {"user": 1}
    event = make("x", data, context, datetime)
    assert (event.name, event.data, event.context, event.extra) == ("x", data, context, {})
    assert event.data["a"] is not data["a"]
    assert event.context is context
    assert event.timestamp.tzinfo is timezone.utc
    assert abs(event.timestamp - datetime.now(timezone.utc)) < timedelta(seconds=5)
    assert uuid.UUID(event.id).version == 7
    assert make("x", None, {}, Clock).timestamp == datetime(2026, 1, 2, tzinfo=timezone.utc)
    assert make("x", None, {}, datetime).data == {}


@pytest.mark.parametrize("make", [capture_in_python, capture], ids=["python", "used"])
@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("", {}),
        ("x" * 1_025, {}),
        ("x\ud800", {}),
        (Text("x"), {}),
        (5, {}),
        ("x", [1]),
        ("x", "text"),
        ("x", {1: 1}),
        ("x", {"k": object()}),
    ],
)
def test_what_has_to_be_mended_is_refused(make: Any, name: Any, data: Any) -> None:
    """The tracker mends it then."""
    with pytest.raises(TypeError):
        make(name, data, {}, datetime)


def test_an_error_of_the_clock_comes_out() -> None:
    """Whatever it is, and nothing is left behind."""

    class Broken:
        @staticmethod
        def now(zone: Any) -> datetime:
            raise OSError(zone)

    for make in (capture, capture_in_python):
        with pytest.raises(OSError, match="UTC"):
            make("x", {"a": []}, {}, Broken)  # type: ignore[arg-type]  # that is what breaks


def test_a_changed_event_is_a_copy() -> None:
    """Of its own class, with what was changed and all the rest; a field that there is not is
    refused.
    """
    event = Richer(name="a", data={"k": 1}, extra={"t": 2})
    changed = event.replace(name="b", data={})
    assert (type(changed), changed.name, changed.data) == (Richer, "b", {})
    assert (changed.id, changed.timestamp) == (event.id, event.timestamp)
    assert changed.extra is event.extra
    assert event.name == "a"
    assert event.replace() == event
    with pytest.raises(TypeError, match="colour"):
        event.replace(colour="red")  # type: ignore[call-arg]  # that is what is refused
    with pytest.raises(TypeError):
        Event.replace({}, name="x")  # type: ignore[arg-type]  # that as well


@pytest.mark.parametrize("extra", [None, [], {}])
def test_no_extra_keys_are_none_however_they_are_given(extra: Any) -> None:
    """A processor may mean well."""
    assert list(Event(name="a", extra=extra).to_dict()) == [
        "name",
        "timestamp",
        "context",
        "data",
        "id",
    ]


def test_an_event_may_change_while_its_extra_keys_are_read() -> None:
    """A mapping with code of its own crashes nothing."""

    class Changing(Mapping[str, int]):
        def __init__(self, event: Event) -> None:
            self.event = event

        def __len__(self) -> int:
            return 2

        def __iter__(self) -> Iterator[str]:
            self.event.extra = {}
            return iter(["p", "q"])

        def __getitem__(self, key: str) -> int:
            return 1

    event = Event(name="a")
    event.extra = Changing(event)  # type: ignore[assignment]  # that is what breaks the contract
    assert list(event.to_dict())[5:] == ["p", "q"]


def test_an_event_without_one_of_its_fields_is_refused() -> None:
    """By its name."""
    for field in ("data", "extra"):
        event = Event(name="a")
        delattr(event, field)
        with pytest.raises(AttributeError, match=field):
            event.replace(name="b")
        with pytest.raises(AttributeError, match=field):
            event.to_json()


def test_extra_keys_never_hide_the_events_own() -> None:
    """They follow, in their order."""
    event = Event(name="a", id="i", data={"k": 1}, extra={"b": 1, "name": "other", "a": 2})
    assert list(event.to_dict()) == ["name", "timestamp", "context", "data", "id", "b", "a"]
    assert event.to_dict()["name"] == "a"


@compiled
def test_nothing_is_kept() -> None:
    """Neither by what succeeds nor by what is refused half way: references and blocks stay as many
    as they were.
    """
    inner, marker = ["x"], Text("marker")
    good = {
        "a": inner,
        "b": {"c": [1, {"d": ()}]},
        "t": datetime.now(timezone.utc),
        "d": date(2026, 1, 1),
    }
    bad = {"a": inner, "b": {"c": [1, {"d": marker}]}}
    event = Event(name="x", data=good)

    def work() -> None:
        for _ in range(2_000):
            capture("x", good, good, datetime)
            result_of(capture, "x", bad, good, datetime)
            result_of(fast_copy, bad)
            event.replace(data=good, extra={}).to_dict()
            result_of(event.replace, "x")

    work()
    before = (
        [sys.getrefcount(one) for one in (inner, marker, good, bad, event)],
        sys.getallocatedblocks(),
    )
    work()
    after = (
        [sys.getrefcount(one) for one in (inner, marker, good, bad, event)],
        sys.getallocatedblocks(),
    )
    assert after[0] == before[0]
    assert after[1] - before[1] < 500


@pytest.mark.timeout(180)
@pytest.mark.process
def test_the_form_in_python_passes_the_same_tests() -> None:
    """The tests of events, snapshots and trackers, but for the longest, where nothing is
    compiled.
    """
    files = [str(HERE / name) for name in ("test_event.py", "test_snapshot.py", "test_tracker.py")]
    code = (
        "import sys, pytest\nfrom eventtracking._data import copy as _copy\nassert not"
        " _copy.IS_COMPILED\nsys.exit(pytest.main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            code,
            "-q",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:xdist",
            "-k",
            "not any_value",
            *files,
        ],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "EVENTTRACKING_PURE_PYTHON": "1"},
        cwd=HERE.parent.parent,
    )
    assert done.returncode == 0, done.stdout[-3_000:] + done.stderr[-1_000:]
