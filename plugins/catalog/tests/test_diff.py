"""Differences: each row of the table in the documents has its word and its path."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from eventtracking_catalog.declaration import Declaration
from eventtracking_catalog.diff import Change, compare
from eventtracking_catalog.documents import declaration_from
from eventtracking_catalog.files import FileError
from eventtracking_catalog.lock import lock_text, read_catalog
from eventtracking_catalog.registry import Registry, Source

BASE = {"a": {"type": "int"}, "o": {"type": "str", "required": False}}


def declared(fields: Any = BASE, **facts: Any) -> dict[str, Declaration]:
    found = declaration_from("event", "t", {"fields": fields, **facts}, "")
    assert found.problems == ()
    return {"t": found}


def of(**tables: Any) -> dict[str, Declaration]:
    return declared(tables)


def optional(**table: Any) -> dict[str, Any]:
    return {"type": "str", "required": False, **table}


def nested(**tables: Any) -> dict[str, Declaration]:
    return of(author={"type": "list[object]", "fields": tables})


ROWS: dict[str, tuple[Any, Any, str, str, str]] = {
    "optional field added": (of(), of(o=optional()), "minor", "data.o", "optional field added"),
    "required added": (of(), of(a="int"), "major", "data.a", "required field added"),
    "optional removed": (of(o=optional()), of(), "major", "data.o", "optional field removed"),
    "optional removed, deprecated before": (
        *(of(o=optional(deprecated="x")), of()),
        *("minor", "data.o", "optional field removed, which was deprecated"),
    ),
    "required removed": (of(a="int"), of(), "major", "data.a", "required field removed"),
    "optional made required": (
        *(of(o=optional()), of(o="str")),
        *("major", "data.o", "optional field made required"),
    ),
    "required made optional": (
        *(of(o="str"), of(o=optional())),
        *("minor", "data.o", "required field made optional; readers will meet events without it"),
    ),
    "type widened": (
        *(of(a="int"), of(a="int | None")),
        *("minor", "data.a", "type widened from int to int | None; readers will meet new kinds"),
    ),
    "int to float": (of(a="int"), of(a="float"), "minor", "data.a", "type widened from int"),
    "to any": (of(a="int"), of(a="any"), "minor", "data.a", "type widened from int to any"),
    "enum member added": (
        *(of(a={"enum": ["x"]}), of(a={"enum": ["x", "y"]})),
        *("minor", "data.a", "enum member added: 'y'; readers will meet a new value"),
    ),
    "enum to text": (of(a={"enum": ["x"]}), of(a="str"), "minor", "data.a", "type widened from"),
    "type narrowed": (
        *(of(a="int | None"), of(a="int")),
        *("major", "data.a", "type narrowed from int | None to int"),
    ),
    "float to int": (of(a="float"), of(a="int"), "major", "data.a", "type narrowed from float"),
    "enum member removed": (
        *(of(a={"enum": ["x", "y"]}), of(a={"enum": ["x"]})),
        *("major", "data.a", "enum member removed: 'y'"),
    ),
    "type changed": (
        *(of(a="int"), of(a="str")),
        *("major", "data.a", "type changed from int to str"),
    ),
    "items changed": (
        *(of(a="list[int]"), of(a="list[str]")),
        *("major", "data.a[*]", "type changed from int to str"),
    ),
    "values changed": (
        *(of(a="dict[str, int]"), of(a="dict[str, str]")),
        *("major", "data.a.*", "type changed from int to str"),
    ),
    "inner field": (nested(), nested(a="int"), "major", "data.author[*].a", "required field added"),
    "tracked rename": (
        *(of(a="int"), of(b={"type": "int", "renamed_from": "a"})),
        *("major", "data.a", "renamed to b"),
    ),
    "description": (
        *(of(a="int"), of(a={"type": "int", "description": "x"})),
        *("docs", "data.a", "description changed"),
    ),
    "example": (
        *(of(a="int"), of(a={"type": "int", "example": 1})),
        *("docs", "data.a", "example changed"),
    ),
    "owner": (declared(), declared(owner="x"), "docs", "", "owner changed"),
    "PII mark added": (
        *(of(a="int"), of(a={"type": "int", "pii": "email"})),
        *("minor", "data.a", "PII mark added: email"),
    ),
    "PII mark removed": (
        *(of(a={"type": "int", "pii": "email"}), of(a="int")),
        *("privacy", "data.a", "PII mark removed: email"),
    ),
    "PII mark to none": (
        *(of(a={"type": "int", "pii": "email"}), of(a={"type": "int", "pii": "none"})),
        *("privacy", "data.a", "PII mark removed: email"),
    ),
    "marked none": (
        *(of(a="int"), of(a={"type": "int", "pii": "none"})),
        *("privacy", "data.a", "marked as free of personal information"),
    ),
    "event type removed": (declared(), {}, "major", "", "event type removed"),
    "event type removed, deprecated before": (
        *(declared(deprecated="x"), {}),
        *("minor", "", "event type removed"),
    ),
    "event type added": ({}, declared(), "minor", "", "event type added"),
    "limit raised": (
        *(of(a={"type": "str", "max_length": 3}), of(a={"type": "str", "max_length": 4})),
        *("minor", "data.a", "limit max_length changed from 3 to 4"),
    ),
    "limit lowered": (
        *(of(a={"type": "str", "max_length": 4}), of(a={"type": "str", "max_length": 3})),
        *("major", "data.a", "limit max_length changed from 4 to 3"),
    ),
    "lower limit lowered": (
        *(of(a={"type": "int", "ge": 4}), of(a={"type": "int", "ge": 3})),
        *("minor", "data.a", "limit ge changed from 4 to 3"),
    ),
    "lower limit raised": (
        *(of(a={"type": "int", "ge": 3}), of(a={"type": "int", "ge": 4})),
        *("major", "data.a", "limit ge changed from 3 to 4"),
    ),
    "limit added": (
        *(of(a="str"), of(a={"type": "str", "max_length": 4})),
        *("major", "data.a", "limit max_length changed from none to 4"),
    ),
    "limit removed": (
        *(of(a={"type": "str", "max_length": 4}), of(a="str")),
        *("minor", "data.a", "limit max_length changed from 4 to none"),
    ),
    "pattern changed": (
        *(of(a={"type": "str", "pattern": "x"}), of(a={"type": "str", "pattern": "y"})),
        *("major", "data.a", "limit pattern changed from 'x' to 'y'"),
    ),
    "unit changed": (
        *(of(a={"type": "int", "unit": "s"}), of(a={"type": "int", "unit": "ms"})),
        *("major", "data.a", "unit changed from s to ms"),
    ),
}


@pytest.mark.parametrize("row", ROWS)
def test_each_row(row: str) -> None:
    """One difference gives one change, with its word and its path."""
    old, new, word, path, text = ROWS[row]
    (change,) = compare(old, new)
    assert (change.word, change.event, change.path) == (word, "t", path)
    assert change.text.startswith(text)


def test_a_rename_that_nothing_tracks() -> None:
    """Without `renamed_from` it is a field removed and one added, both major."""
    found = compare(of(a="int"), of(b="int"))
    assert [(one.word, one.path) for one in found] == [("major", "data.a"), ("major", "data.b")]


def test_nothing_changed() -> None:
    """A catalog does not differ from itself, in any order of its fields."""
    turned = dict(reversed(list(BASE.items())))
    assert compare(declared(), declared(turned)) == []
    assert compare(of(a="int | str"), of(a="str | int")) == []


def test_contexts_say_so() -> None:
    """The fields of a context stand in the context."""
    (change,) = compare(of(), of(a="int"), "context")
    assert change == Change("major", "t", "context.a", "required field added")


def test_a_lock_reads_back(tmp_path: Path) -> None:
    """The committed file holds all that the comparison needs, and no place of one machine."""
    registry = Registry()
    for kind in ("event", "context"):
        one = declaration_from(kind, "t", {"fields": BASE, "owner": "x"}, "/somewhere/a.py:1")
        registry.add(Source("t", lambda one=one: one, "x", kind))  # type: ignore[misc]  # bound now
    text = lock_text(registry)
    assert "somewhere" not in text
    assert text == lock_text(registry)
    file = tmp_path / "catalog.lock.json"
    file.write_text(text)
    found = read_catalog(file)
    for kind in ("event", "context"):
        known = registry.get("t", kind)
        assert known is not None
        assert found[kind]["t"].schema == known.schema
        assert found[kind]["t"].docs == known.docs
    assert compare(found["event"], declared(owner="x")) == []


def test_a_lock_of_a_later_format(tmp_path: Path) -> None:
    """It is refused with words."""
    file = tmp_path / "catalog.lock.json"
    file.write_text(json.dumps({"format": 2, "events": {}}))
    with pytest.raises(FileError, match="format 2"):
        read_catalog(file)
