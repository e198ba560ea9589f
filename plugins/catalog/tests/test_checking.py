"""The processor `catalog`: events that conform pass, stamped; others meet their policy."""

from __future__ import annotations

import datetime as dt
import json
import random
import uuid
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import attrs
import msgspec
import pytest

from eventtracking import DropEvent, Event, OptionsError, Rejected
from eventtracking_catalog import register
from eventtracking_catalog.documents import declaration_from
from eventtracking_catalog.fast import KINDS, Inexpressible, compiled
from eventtracking_catalog.notation import type_of
from eventtracking_catalog.problems import MAX_PROBLEMS, Problem, first_problem, problems_of
from eventtracking_catalog.processor import Catalog
from eventtracking_catalog.registry import registry
from eventtracking_catalog.types import Field


@attrs.define
class Seat:
    """A place in a tree that keeps the calls of a processor."""

    above: tuple[str, ...] = ()
    path: str = ""
    sent: list[Event] = attrs.field(factory=list)
    remarks: dict[str, int] = attrs.field(factory=dict)

    def submit(self, event: Event) -> None:
        self.sent.append(event)

    def remark(self, text: str, count: int = 1) -> None:
        self.remarks[text] = self.remarks.get(text, 0) + count


def catalog(above: Sequence[str] = (), **options: Any) -> tuple[Catalog, Seat]:
    """Build a catalog and seat it."""
    one, seat = Catalog(**options), Seat(above=tuple(above))
    one.bind(seat)
    return one, seat


def fields_of(**tables: Any) -> tuple[Field, ...]:
    found = declaration_from("event", "x", {"fields": tables}, "")
    assert not found.problems
    return found.fields


def declare_course() -> str:
    register(
        "checked.enrolled",
        "A learner enrolled.",
        {
            "course": "str",
            "mode": {"enum": ["audit", "verified"]},
            "author": {"fields": {"id": "int", "name": {"type": "str", "required": False}}},
            "scores": {"type": "dict[str, list[int]]", "required": False},
            "items": {"type": "list[object]", "fields": {"n": "int"}, "required": False},
        },
    )
    found = registry.get("checked.enrolled")
    assert found is not None
    return found.schema


GOOD: dict[str, Any] = {"course": "botany", "mode": "audit", "author": {"id": 1}}


def event_of(data: dict[str, Any], name: str = "checked.enrolled", **extra: Any) -> Event:
    return Event(name=name, data=data, extra=extra)


def test_an_event_that_conforms_is_stamped() -> None:
    """It carries its schema as an extra key; nothing else changes, and nothing is counted."""
    schema = declare_course()
    one, seat = catalog()
    event = event_of(GOOD)
    found = one(event)
    assert found.extra == {"schema": schema}
    assert (found.data, found.id, event.extra) == (GOOD, event.id, {})
    assert seat.remarks == {}


BAD: dict[str, tuple[dict[str, Any], Problem]] = {
    "a missing field": ({"course": None}, Problem("missing_field", "data.course")),
    "a wrong type": ({"course": 3}, Problem("wrong_type", "data.course")),
    "a value outside an enum": ({"mode": "x"}, Problem("wrong_type", "data.mode")),
    "an unknown field": ({"sec_ret": 1}, Problem("unknown_field", "data.?")),
    "an inner type": ({"author": {"id": "x"}}, Problem("wrong_type", "data.author.id")),
    "an inner missing": ({"author": {}}, Problem("missing_field", "data.author.id")),
    "an inner unknown": ({"author": {"id": 1, "z": 1}}, Problem("unknown_field", "data.author.?")),
    "a mapping's value": ({"scores": {"bob": ["x"]}}, Problem("wrong_type", "data.scores.*[*]")),
    "a list's object": (
        {"items": [{"n": 1}, {"n": "x"}]},
        Problem("wrong_type", "data.items[*].n"),
    ),
    "no bool for an int": ({"author": {"id": True}}, Problem("wrong_type", "data.author.id")),
}


def bad_data(case: str) -> tuple[dict[str, Any], Problem]:
    change, problem = BAD[case]
    data = {**GOOD, **change}
    if problem.kind == "missing_field" and problem.path == "data.course":
        del data["course"]
    return data, problem


@pytest.mark.parametrize("case", BAD)
def test_a_problem_has_a_kind_and_a_path(case: str) -> None:
    """It is tagged with both; keys of mappings and unknown names, which are values, never show."""
    declare_course()
    data, problem = bad_data(case)
    one, seat = catalog(**dict.fromkeys(KINDS, "tag"))
    found = one(event_of(data))
    assert found.extra["schema_problems"] == [problem._asdict()]
    assert found.extra["schema"].startswith("checked.enrolled@")
    text = f"catalog: {problem.kind}: checked.enrolled {problem.path}"
    assert seat.remarks == {text: 1}
    assert "bob" not in json.dumps(found.extra)


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("policy", ["allow", "warn", "drop", "dead_letter"])
def test_each_policy(case: str, policy: str) -> None:
    """An event passes as it is, is dropped, or is refused with the kind and path of its problem."""
    declare_course()
    data, (kind, path) = bad_data(case)
    one, seat = catalog(above=["buffer"], **{kind: policy})
    event = event_of(data)
    if policy == "drop":
        with pytest.raises(DropEvent) as dropped:
            one(event)
        assert dropped.value.reason == f"{kind} {path}"
    elif policy == "dead_letter":
        with pytest.raises(Rejected) as rejected:
            one(event)
        assert rejected.value.reasons == {event.id: f"{kind} {path}"}
    else:
        assert one(event).data == data
        assert len(seat.remarks) == (policy == "warn")


def test_unknown_fields_are_dropped_at_every_depth() -> None:
    """With `drop_field` the event goes on without them."""
    declare_course()
    one, _ = catalog(unknown_field="drop_field")
    items = {"items": [{"n": 1, "z": 2}], "scores": {"any": [1]}}
    data = {**GOOD, **items, "z": 1, "author": {"id": 1, "z": {"y": 2}}}
    found = one(event_of(data))
    assert found.data == {**GOOD, "items": [{"n": 1}], "scores": {"any": [1]}}


def test_the_strictest_policy_wins() -> None:
    """Of several problems, a dead letter goes before a drop, and a drop before a tag."""
    declare_course()
    data = {"course": 3, "zzz": 1, "author": {"id": 1}}
    one, _ = catalog(above=["buffer"], wrong_type="tag", unknown_field="drop")
    with pytest.raises(DropEvent, match=r"unknown_field data\.\? \(and 2 more\)"):
        one(event_of(data))
    one, _ = catalog(above=["buffer"], wrong_type="dead_letter", unknown_field="drop")
    with pytest.raises(Rejected):
        one(event_of(data))


def test_unknown_types() -> None:
    """A name without a declaration has its own policy, and is never stamped."""
    for policy in ("allow", "warn"):
        one, seat = catalog(unknown_type=policy)
        assert one(event_of({}, "nobody.declared")).extra == {}
        assert seat.remarks == (
            {} if policy == "allow" else {"catalog: unknown_type: nobody.declared": 1}
        )
    one, _ = catalog(unknown_type="tag")
    problem = [{"kind": "unknown_type", "path": ""}]
    assert one(event_of({}, "nobody.declared")).extra == {"schema_problems": problem}
    one, _ = catalog(unknown_type="drop")
    with pytest.raises(DropEvent, match="unknown_type"):
        one(event_of({}, "nobody.declared"))


def test_a_declaration_that_comes_late() -> None:
    """A name that was unknown is asked anew when its declaration is imported."""
    one, _ = catalog()
    assert one(event_of({"a": 1}, "late.declared")).extra == {}
    register("late.declared", "x", {"a": "int"})
    assert one(event_of({"a": 1}, "late.declared")).extra["schema"].startswith("late.declared@")


def test_events_that_are_too_large() -> None:
    """The size is that of the JSON; names without a declaration count, too."""
    declare_course()
    event = event_of(GOOD)
    size = len(event.to_json())
    for limit, is_dropped in ((size, False), (size - 1, True)):
        one, _ = catalog(too_large="drop", max_event_bytes=limit)
        if is_dropped:
            with pytest.raises(DropEvent, match="too_large"):
                one(event)
        else:
            one(event)
    one, seat = catalog(max_event_bytes=10, unknown_type="allow")
    one(event_of({"x": "y" * 100}, "nobody.declared"))
    assert seat.remarks == {"catalog: too_large: nobody.declared": 1}


def test_own_names_pass_as_they_are() -> None:
    """Names that begin with `eventtracking.` are neither checked nor stamped."""
    one, seat = catalog(unknown_type="drop", max_event_bytes=1, too_large="drop")
    event = event_of({"x": 1}, "eventtracking.event_type")
    assert one(event) is event
    assert (seat.sent, seat.remarks) == ([], {})


def test_a_schema_that_is_not_known_here() -> None:
    """An event that another program's catalog stamped is left alone, and counted."""
    one, seat = catalog(unknown_type="drop", wrong_type="drop")
    event = event_of({"x": 1}, "other.type", schema="other.type@0123456789abcdef")
    assert one(event) is event
    assert seat.remarks == {"catalog: schema not known here": 1}


def test_another_version_of_a_known_name() -> None:
    """It is checked again; it gets this process's stamp only if it conforms."""
    schema = declare_course()
    old = "checked.enrolled@0123456789abcdef"
    one, _ = catalog()
    assert one(event_of(GOOD, schema=old)).extra == {"schema": schema}
    bad = one(event_of({"course": 1}, schema=old))
    assert bad.extra == {"schema": old}
    one, _ = catalog(wrong_type="drop")
    with pytest.raises(DropEvent):
        one(event_of({**GOOD, "course": 1}, schema=old))


def test_a_mended_declaration_takes_the_tag_away() -> None:
    """An event that conforms now loses the problems of before."""
    schema = declare_course()
    one, _ = catalog()
    found = one(event_of(GOOD, schema=schema, schema_problems=[{"kind": "x", "path": "y"}], more=1))
    assert found.extra == {"schema": schema, "more": 1}


def test_false_zero_and_nothing_are_values() -> None:
    """They are not missing."""
    register("falsy.values", "x", {"a": "bool", "b": "int", "c": "str", "d": "list", "e": "None"})
    one, seat = catalog(**dict.fromkeys(KINDS, "drop"))
    one(event_of({"a": False, "b": 0, "c": "", "d": [], "e": None}, "falsy.values"))
    assert seat.remarks == {}


NATIVE: dict[str, Any] = {
    "datetime": dt.datetime(2026, 1, 2, tzinfo=dt.timezone.utc),
    "date": dt.date(2026, 1, 2),
    "uuid": uuid.UUID(int=7),
    "bytes": b"abc",
}


@pytest.mark.parametrize("kind", NATIVE)
def test_native_values_and_their_text(kind: str) -> None:
    """Both forms conform, by the fast check and by the slow path; other text does not."""
    fields = fields_of(x=kind)
    for value in (NATIVE[kind], msgspec.to_builtins(NATIVE[kind])):
        msgspec.convert({"x": value}, compiled(fields))
        assert problems_of(fields, {"x": value}) == []
    assert problems_of(fields, {"x": "?"}) == [Problem("wrong_type", "data.x")]


@pytest.mark.parametrize("value", [Decimal("1.5"), dt.time(1, 2), dt.timedelta(1)])
def test_text_that_stands_for_a_value(value: Any) -> None:
    """Decimals, times and durations, which a snapshot holds as text, conform to their types."""
    event = Event(name="x", data={"x": str(msgspec.to_builtins(value))})
    fields = fields_of(x=type(value).__name__.casefold())
    assert problems_of(fields, event.data) == []


SAMPLES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -5, 2**70, 1.0, 1.5, float("nan"), "", "a", "audit", "1"),
    *("2026-01-02", "2026-01-02T03:04:05Z", "YWJj", "00000000-0000-0000-0000-000000000007"),
    *NATIVE.values(),
    *([], [1], ["a"], [[1]], {}, {"a": 1}, {"n": 1}, {"n": "x"}, {"n": 1, "o": 2}, {"k": {"n": 1}}),
    *("lone \ud800", "1.5", "P1D", [None], [{"n": 1}], [{"n": None}]),
)
TYPES: tuple[Any, ...] = (
    *("any", "None", "bool", "int", "float", "str", "bytes", "datetime", "date", "time"),
    *("timedelta", "uuid", "decimal", "int | None", "int | str", "list[int]", "dict[str, int]"),
    *("tuple[int, str]", '"a" | "audit"', "1 | 2", '"a" | None', "list[int | None]"),
    *("int | list[int]", "float | str | None", "datetime | None", "uuid | int"),
    {"fields": {"n": "int", "o": {"type": "int", "required": False}}},
    {"type": "list[object]", "fields": {"n": "int"}},
    {"type": "object | None", "fields": {"n": "int"}},
    {"type": "dict[str, object]", "fields": {"n": "int"}},
    {"type": "str", "max_length": 1},
    {"type": "int", "ge": 1},
    {"type": "list[int]", "max_length": 0},
    {"type": "str", "pattern": "^a"},
)


@pytest.mark.parametrize("table", TYPES, ids=str)
def test_the_two_paths_agree(table: Any) -> None:
    """The slow path finds a problem exactly where the fast check fails."""
    fields = fields_of(x=table)
    check = compiled(fields)
    for sample in SAMPLES:
        data = {"x": sample}
        try:
            msgspec.convert(data, check)
            passes = True
        except Exception:
            passes = False
        assert (problems_of(fields, data) == []) is passes, sample


def test_random_declarations_agree() -> None:
    """The same for random types of some depth, and for every choice of what is allowed."""
    chance = random.Random(12)

    def table(depth: int) -> Any:
        kind = chance.choice(["scalar", "scalar", "object", "list", "map"]) if depth else "scalar"
        if kind == "object":
            return {"fields": {f"f{n}": table(depth - 1) for n in range(chance.randint(0, 3))}}
        if kind in ("list", "map"):
            return {"type": kind, "items": table(depth - 1)}
        return {
            "type": chance.choice(["int", "str", "bool", "None"]),
            "required": chance.random() > 0.3,
        }

    def value(depth: int) -> Any:
        kind = chance.choice(["scalar", "object", "list"]) if depth else "scalar"
        if kind == "object":
            return {f"f{n}": value(depth - 1) for n in range(chance.randint(0, 4))}
        if kind == "list":
            return [value(depth - 1) for _ in range(chance.randint(0, 2))]
        return chance.choice([1, "a", True, None])

    for _ in range(400):
        fields = fields_of(**{f"f{n}": table(3) for n in range(3)})
        relaxed = frozenset(kind for kind in KINDS if chance.random() > 0.7)
        if "wrong_type" in relaxed:
            continue  # the fast check does not look into a field of any type
        check = compiled(fields, relaxed)
        for _ in range(10):
            data = {f"f{n}": value(3) for n in range(chance.randint(0, 4))}
            found = problems_of(fields, data, relaxed)
            try:
                msgspec.convert(data, check)
            except msgspec.ValidationError as error:
                assert found, data
                first = first_problem(error)
                assert first.kind in {one.kind for one in found}
            else:
                assert not found, data


@pytest.mark.parametrize(
    "table",
    [
        {"type": "union", "options": [{"fields": {"a": "int"}}, {"fields": {"b": "int"}}]},
        {"type": "datetime | uuid"},
        {"enum": [True, 1.5]},
    ],
    ids=str,
)
def test_types_for_the_slow_path_alone(table: Any) -> None:
    """A type that msgspec cannot express is still checked."""
    fields = fields_of(x=table)
    with pytest.raises(Inexpressible):
        compiled(fields)
    assert problems_of(fields, {"x": "no such thing"}) == [Problem("wrong_type", "data.x")]
    good = {"options": {"b": 1}, "type": "2026-01-02T03:04:05Z", "enum": True}
    value = next(good[key] for key in good if key in table)
    assert problems_of(fields, {"x": value}) == []


def test_hostile_values() -> None:
    """A million keys, deep nesting, and names of any kind get a bounded list of problems."""
    fields = fields_of(a="int", b={"type": "list[int]"})
    assert problems_of(fields, {f"k{n}": n for n in range(1_000_000)})[-1].path == "data.?"
    wide = fields_of(**{f"f{n}": "int" for n in range(500)})
    assert len(problems_of(wide, {})) == MAX_PROBLEMS
    deep: Any = 1
    for _ in range(150):
        deep = [deep]
    register("hostile.values", "x", {"a": "int"})
    one, _ = catalog(**dict.fromkeys(KINDS, "tag"))
    samples: tuple[Any, ...] = (
        {"a": deep},
        {"\ud800": 1, "a": 1},
        {"__proto__": 1, "a": 1},
        {"": {}},
    )
    for data in samples:
        found = one(event_of(data, "hostile.values"))
        assert found.extra["schema_problems"]


def test_many_failing_events_keep_their_policy() -> None:
    """Past a hundred a second the problems are no longer listed, and the policies still hold."""
    declare_course()
    one, _ = catalog(above=["buffer"], wrong_type="dead_letter", unknown_field="drop_field")
    one._clock = lambda: dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc)
    bad, mild = {**GOOD, "zzz": 1, "course": 3}, {**GOOD, "zzz": 1}
    for _ in range(300):
        with pytest.raises(Rejected):
            one(event_of(bad))
        assert one(event_of(mild)).data == GOOD


def test_the_texts_are_bounded() -> None:
    """At most 64 different problems are told; the rest count as others."""
    one, seat = catalog()
    for number in range(200):
        one(event_of({}, f"unknown.{number}"))
    assert len(seat.remarks) == 65
    assert sum(seat.remarks.values()) == 200
    assert seat.remarks["catalog: other problems"] == 136


def test_dead_letters_need_a_router() -> None:
    """Without one, the config has a problem, whose hint shows the usual layout."""
    with pytest.raises(OptionsError) as refused:
        catalog(wrong_type="dead_letter")
    assert "at the root" in refused.value.problems["wrong_type"]
    catalog(above=["buffer"], wrong_type="dead_letter")


def test_an_open_declaration_checks_nothing() -> None:
    """Data of a class that could not be read passes, stamped."""
    register("open.one", "x", {f"f{n}": "int" for n in range(5_000)})
    one, seat = catalog(**dict.fromkeys(KINDS, "drop"))
    assert one(event_of({"z": 1}, "open.one")).extra["schema"]
    assert seat.remarks == {}


def test_notation_of_options() -> None:
    """A union of one type is that type."""
    assert type_of("int | int").kind == "int"


def test_many_events_of_an_unknown_type() -> None:
    """The first thousand are counted one by one, the later ones in hundreds."""
    one, seat = catalog()
    text = "catalog: unknown_type: nobody.declared"
    for number in range(1, 1_351):
        one(event_of({}, "nobody.declared"))
        assert seat.remarks[text] == (number if number <= 1_000 else number // 100 * 100)


def test_the_files_of_two_configs(tmp_path: Path) -> None:
    """Two trackers of one process may declare a name differently, each in a file of its own."""
    made = []
    for kind in ("int", "str"):
        file = tmp_path / f"{kind}.json"
        file.write_text(json.dumps({"events": {"files.apart": {"fields": {"a": kind}}}}))
        made.append(catalog(files=[str(file)], wrong_type="drop")[0])
    numbers, texts = made
    numbers(event_of({"a": 1}, "files.apart"))
    texts(event_of({"a": "x"}, "files.apart"))
    for one, value in ((numbers, "x"), (texts, 1)):
        with pytest.raises(DropEvent):
            one(event_of({"a": value}, "files.apart"))


def test_a_file_and_a_module_that_differ(tmp_path: Path) -> None:
    """The config has a problem, which names both places."""
    register("files.twice", "x", {"a": "int"})
    file = tmp_path / "declared.json"
    file.write_text(json.dumps({"events": {"files.twice": {"fields": {"a": "str"}}}}))
    with pytest.raises(OptionsError) as refused:
        catalog(files=[str(file)])
    assert "declared.json" in refused.value.problems["files"]
    assert "test_checking.py" in refused.value.problems["files"]
