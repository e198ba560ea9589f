"""The processor `redact`: a field passes only where a declaration lets it."""

from __future__ import annotations

import random
import uuid
from typing import Annotated, Any

import attrs
import pytest
from test_checking import Seat

from eventtracking import DropEvent, Event, OptionsError, Rejected
from eventtracking_catalog import event, field, register, register_context
from eventtracking_catalog.guard import MASK
from eventtracking_catalog.redact import Redact

KEY = "k" * 32
NONE = {"pii": "none"}


def redact(above: tuple[str, ...] = (), **options: Any) -> Redact:
    one = Redact(**options)
    one.bind(Seat(above=above))
    return one


def passed(one: Redact, name: str, data: dict[str, Any], **parts: Any) -> Event:
    return one(Event(name=name, data=data, **parts))


FIELDS: dict[str, Any] = {
    "mode": {"type": "str", **NONE},
    "user": {"type": "str", "pii": "username"},
    "mail": {"type": "str", "pii": ["email", "username"]},
    "plain": "str",
}


def test_fields_are_decided_one_by_one() -> None:
    """Marked "none" passes, kept words pass, the strictest of several counts, the rest goes."""
    register("redacted.one", "x", FIELDS)
    data = {"mode": "audit", "user": "bob", "mail": "b@example.com", "plain": "p", "undeclared": 1}
    assert passed(redact(), "redacted.one", data).data == {"mode": "audit"}
    one = redact(keep=["username"])
    assert passed(one, "redacted.one", data).data == {"mode": "audit", "user": "bob"}
    one = redact(keep=["username"], mask=["email"], otherwise="mask")
    assert passed(one, "redacted.one", data).data == {
        "mode": "audit",
        "user": "bob",
        "mail": MASK,
        "plain": MASK,
        "undeclared": MASK,
    }


def test_a_hash_is_keyed_and_stable() -> None:
    """The same value has the same pseudonym under one key, in native and text form."""
    register("redacted.hash", "x", {"id": {"type": "uuid", "pii": "id"}})
    one, other = redact(hash=["id"], key=KEY), redact(hash=["id"], key="j" * 32)
    value = uuid.UUID(int=5)
    native = passed(one, "redacted.hash", {"id": value}).data["id"]
    assert native == passed(one, "redacted.hash", {"id": str(value)}).data["id"]
    assert native != passed(other, "redacted.hash", {"id": value}).data["id"]
    assert len(native) == 32
    assert KEY not in repr(one)


def test_context_and_extra() -> None:
    """Contexts pass by their declarations; of extra keys, only those of the catalog."""
    register("redacted.parts", "x", {})
    register_context("user", "x", {"agent": {"type": "str", **NONE}, "ip": {"type": "str"}})
    context = {"agent": "web", "ip": "10.0.0.1", "undeclared": "x"}
    stamp = "redacted.parts@0123456789abcdef"
    problems = [{"kind": "wrong_type", "path": "data.x"}]
    extra = {"schema": stamp, "schema_problems": problems, "secret": "s"}
    found = passed(redact(), "redacted.parts", {}, context=context, extra=extra)
    assert found.context == {"agent": "web"}
    assert found.extra == {"schema": stamp, "schema_problems": problems}
    forged: dict[str, Any] = {
        "schema": "bob@example.com",
        "schema_problems": [{"kind": "x", "path": "bob"}],
    }
    assert passed(redact(), "redacted.parts", {}, extra=forged).extra == {}


def test_of_two_contexts_the_stricter_mark_counts() -> None:
    """A key that one context marks and another does not is no key that may pass."""
    register("redacted.strict", "x", {})
    register_context("a", "x", {"both": {"type": "str", **NONE}})
    register_context("b", "x", {"both": {"type": "str"}})
    assert passed(redact(), "redacted.strict", {}, context={"both": "x"}).context == {}


def test_nested_fields() -> None:
    """Containers are decided field by field; a mark holds for unmarked fields below."""

    @attrs.define
    class Author:
        id: Annotated[int, field(pii="none")]
        name: Annotated[str, field(pii="name")]
        note: str

    @event("redacted.nested")
    @attrs.define
    class Nested:
        author: Author
        authors: list[Author]
        by_key: Annotated[dict[str, Author], field(pii="none")]
        marked: Annotated[Author, field(pii="none")]
        tags: Annotated[list[str], field(pii="none")]

    one = {"id": 1, "name": "bob", "note": "n", "undeclared": "u"}
    data = {"author": one, "authors": [one], "by_key": {"k": one}, "marked": one, "tags": ["a"]}
    assert passed(redact(), "redacted.nested", data).data == {
        "author": {"id": 1},
        "authors": [{"id": 1}],
        "by_key": {"k": {"id": 1, "note": "n"}},
        "marked": {"id": 1, "note": "n"},
        "tags": ["a"],
    }


def test_names_that_nothing_declares_go_with_their_fields() -> None:
    """By default; a mask keeps the names, at every depth, and so the guide says."""
    inner = {"fields": {"id": {"type": "int", **NONE}}, **NONE}
    register("redacted.names", "x", {"author": inner})
    data = {"author": {"bob": 1, "id": 7}, "bob": 2}
    assert passed(redact(), "redacted.names", data).data == {"author": {"id": 7}}
    masked = {"author": {"bob": "***", "id": 7}, "bob": "***"}
    assert passed(redact(otherwise="mask"), "redacted.names", data).data == masked


@pytest.mark.parametrize("value", ["bob", {"name": "bob"}, ["bob"], True, 1.5, None])
def test_a_broken_value_does_not_pass(value: Any) -> None:
    """A mark holds for values of the declared type: a name in a number's place is removed."""
    register("redacted.broken", "x", {"count": {"type": "int", **NONE}})
    assert passed(redact(), "redacted.broken", {"count": value}).data == {}
    assert passed(redact(), "redacted.broken", {"count": 5}).data == {"count": 5}


def test_events_without_a_declaration() -> None:
    """Below a router they become dead letters, elsewhere they are dropped; an option decides."""
    found = Event(name="redacted.nobody", data={"a": "bob"})
    with pytest.raises(Rejected):
        redact(above=("buffer",))(found)
    with pytest.raises(DropEvent):
        redact()(found)
    with pytest.raises(DropEvent):
        redact(above=("buffer",), undeclared="drop")(found)
    assert redact(undeclared="pass")(found) is found
    with pytest.raises(OptionsError, match="router above"):
        redact(undeclared="dead_letter")


def test_records_pass() -> None:
    """The documentation of event types is no personal information; a context beside it may be."""
    record = Event(name="eventtracking.event_type", data={"name": "x"})
    assert redact()(record) is record
    assert redact()(record.replace(context={"user": "bob"})).context == {}


def test_what_people_see() -> None:
    """`shown` redacts, too; of an event without a declaration it shows the keys."""
    register("redacted.shown", "x", FIELDS)
    one = redact()
    data = {"mode": "audit", "user": "bob"}
    assert one.shown(Event(name="redacted.shown", data=data)).data == {"mode": "audit"}
    unknown = one.shown(Event(name="redacted.nobody", data=data, context={"ip": "10.0.0.1"}))
    assert unknown.data == {"mode": MASK, "user": MASK}
    assert unknown.context == {"ip": MASK}
    assert Redact.fails_closed


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"hash": ["email"]}, "key"),
        ({"otherwise": "hash", "key": "short"}, "key"),
        ({"keep": ["email"], "mask": ["email"]}, "keep"),
        ({"mask": ["none"]}, "mask"),
        ({"files": ["none.toml"]}, "files[0]"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], key: str) -> None:
    """Each is a problem of its own option, and the key is never quoted."""
    with pytest.raises(OptionsError) as refused:
        redact(**options)
    assert key in refused.value.problems
    assert "short" not in str(refused.value)


def test_no_secret_gets_through() -> None:
    """For random data, no value outside the marked fields shows, under every action."""
    chance = random.Random(3)
    register(
        "redacted.random",
        "x",
        {
            "a": {"type": "int", **NONE},
            "b": {"type": "list[object]", "fields": {"c": {"type": "int", **NONE}, "d": "str"}},
            "e": {"type": "dict[str, int]", "pii": "user"},
        },
    )

    def value(depth: int) -> Any:
        kind = chance.choice(["leaf", "dict", "list"]) if depth else "leaf"
        if kind == "dict":
            keys = ("a", "b", "c", "d", "e", "secret-key")
            return {chance.choice(keys): value(depth - 1) for _ in range(3)}
        if kind == "list":
            return [value(depth - 1) for _ in range(2)]
        return chance.choice(["secret-text", 7, None, True])

    actions = [redact(), redact(otherwise="mask"), redact(otherwise="hash", hash=["user"], key=KEY)]
    for _ in range(500):
        data = {name: value(3) for name in ("a", "b", "e", "z")}
        for one in actions:
            found = passed(one, "redacted.random", data, context=data, extra={"x": data})
            assert "secret-text" not in found.to_json()
