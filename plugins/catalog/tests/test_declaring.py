"""Declarations: every kind gives the same identity, and none of them stops an import."""

from __future__ import annotations

import enum
import gc
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, NewType, Optional, TypeVar

import attrs
import declared_kinds
import msgspec
import pydantic
import pytest

from eventtracking_catalog import UNSET, context, event, field, register
from eventtracking_catalog.canonical import canonical_json, record_id, shape_form
from eventtracking_catalog.declaration import Declaration, field_document
from eventtracking_catalog.documents import declaration_from
from eventtracking_catalog.files import FileError, load_layer, sources_of
from eventtracking_catalog.notation import NotationError, text_of, type_of
from eventtracking_catalog.registry import registry

KINDS: dict[str, Callable[[], Declaration]] = {
    "attrs": lambda: declared_kinds.by_class(declared_kinds.AttrsEnrolled),
    "dataclass": lambda: declared_kinds.by_class(declared_kinds.DataEnrolled),
    "Struct": lambda: declared_kinds.by_class(declared_kinds.StructEnrolled),
    "pydantic": lambda: declared_kinds.by_class(declared_kinds.ModelEnrolled),
    "TypedDict": lambda: declared_kinds.by_class(declared_kinds.DictEnrolled),
    "call": declared_kinds.by_call,
    "TOML": lambda: declared_kinds.by_file(".toml"),
    "JSON": lambda: declared_kinds.by_file(".json"),
}


def declared(name: str) -> Declaration:
    found = registry.get(name)
    assert found is not None
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_the_same_identity(kind: str) -> None:
    """Name, types, requirement and PII marks give one shape, however they are declared."""
    found = KINDS[kind]()
    assert found.problems == ()
    form = canonical_json(shape_form(found.name, found.fields))
    wanted = KINDS["attrs"]()
    assert form == canonical_json(shape_form(wanted.name, wanted.fields))
    assert found.schema == wanted.schema
    assert found.description == "A learner enrolled."
    assert (found.version, found.owner, found.deprecated) == ("2", "learning", "course.joined")


@pytest.mark.parametrize("kind", ["attrs", "dataclass", "Struct", "pydantic", "call", "JSON"])
def test_the_documentation_has_a_hash_of_its_own(kind: str) -> None:
    """Descriptions, examples, units and defaults give one second hash."""
    assert KINDS[kind]().docs == KINDS["TOML"]().docs


@pytest.mark.parametrize("kind", KINDS)
def test_a_document_is_a_declaration_again(kind: str) -> None:
    """The plain form of a declaration, as in a record or a lock, reads back as the same one."""
    found = KINDS[kind]()
    document = found.document()
    table = {key: document[key] for key in ("description", "version", "owner", "deprecated")}
    table["fields"] = document["fields"]
    again = declaration_from("event", found.name, table, "")
    assert again.problems == ()
    assert (again.schema, again.docs) == (found.schema, found.docs)


def test_what_changes_the_shape_and_what_does_not() -> None:
    """Types, requirement and marks are the shape; texts, units and defaults are documentation."""
    base = {"type": "str", "description": "x"}

    def of(table: Any) -> Declaration:
        return declaration_from("event", "a", {"fields": {"f": table}}, "")

    plain = of(base)
    for change in ({"type": "int"}, {"required": False}, {"pii": "email"}, {"max_length": 3}):
        assert of({**base, **change}).shape != plain.shape, change
    changes: tuple[dict[str, Any], ...] = ({"description": "y"}, {"unit": "s"}, {"example": 1})
    for change in changes:
        assert of({**base, **change}).shape == plain.shape, change
        assert of({**base, **change}).docs != plain.docs, change
    optional = of({**base, "required": False})
    assert of({**base, "default": "a"}).shape == optional.shape
    assert of({**base, "default": "a"}).docs != optional.docs


def test_the_record_has_an_id_of_its_schema_and_docs() -> None:
    """It is a uuid5, so that every process gives one version of a type the same id."""
    assert record_id("a@0123456789abcdef", "fedcba9876543210") == (
        "ba1e039f-d8b1-54c6-a01c-be322dc6f6db"
    )


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Point(NamedTuple):
    x: int
    y: int


UserId = NewType("UserId", int)
T = TypeVar("T")


@event("hints.all")
@attrs.define
class Hints:
    enum: Colour
    point: tuple[int, str]
    many: tuple[int, ...]
    user: UserId
    maybe: Optional[int]  # noqa: UP045 - the older spelling is what is tested
    both: Literal["a", 1, None]  # noqa: PYI061 - the older spelling is what is tested
    anything: Any
    bare: list  # type: ignore[type-arg]  # a bare list is what is tested
    table: dict[str, Hints2]
    nested: list[Annotated[str, field(pii="username")]]
    absent: int | msgspec.UnsetType | None = UNSET


@attrs.define
class Hints2:
    x: Annotated[int, msgspec.Meta(ge=0)]


def test_annotations_become_types() -> None:
    """Each of the usual annotations has its notation."""
    found = {one.name: one for one in declared("hints.all").fields}
    texts = {name: text_of(one.type) for name, one in found.items()}
    assert texts == {
        "enum": '"red" | "blue"',
        "point": "tuple[int, str]",
        "many": "list[int]",
        "user": "int",
        "maybe": "int | None",
        "both": '"a" | 1 | None',
        "anything": "any",
        "bare": "list[any]",
        "table": "dict[str, object]",
        "nested": "list[str]",
        "absent": "int | None",
    }
    assert found["nested"].pii == ("username",)
    assert [one.required for one in found.values()] == [True] * 10 + [False]
    assert field_document(found["table"])["fields"]["x"] == {
        "type": "int",
        "ge": 0,
        "required": True,
    }


@pytest.mark.parametrize(
    "text",
    ["int", "list[int | None]", "dict[str, list[float]]", '"a" | 1 | True', "tuple[int, str]"],
)
def test_notation_reads_what_it_writes(text: str) -> None:
    """A type's text names the same type."""
    assert text_of(type_of(text)) == text


@pytest.mark.parametrize("text", ["", "foo", "int[3]", "__import__('os')", "a b", "[" * 500, "1+1"])
def test_text_that_is_no_type(text: str) -> None:
    """It is refused, and none of it runs."""
    with pytest.raises(NotationError):
        type_of(text)


def test_local_classes() -> None:
    """A class in a function is read at once: the names in its annotations are gone later."""

    @attrs.define
    class Inner:
        x: int

    @event("local.outer")
    @attrs.define
    class Outer:
        inner: Inner

    assert Inner.__name__ == "Inner"
    gc.collect()
    assert declared("local.outer").problems == ()
    assert declared("local.outer").fields[0].type.kind == "object"


class Hostile(type):
    def __getattribute__(cls, name: str) -> Any:
        if name in ("__attrs_attrs__", "__dataclass_fields__", "__total__"):
            raise RuntimeError("boom")
        return super().__getattribute__(name)


def test_hostile_declarations_are_problems() -> None:
    """A class that raises, one without fields, an own name: told of, and none stops an import."""

    class Raises(metaclass=Hostile):
        pass

    class NoFields:
        pass

    before = len(registry.problems)
    assert event("hostile.raises")(Raises) is Raises
    assert event("hostile.plain")(NoFields) is NoFields
    for name in ("eventtracking.mine", "", None, 3):
        event(name)(attrs.make_class("C", ["x"]))  # type: ignore[arg-type]  # names that are none
        register(name, "x")  # type: ignore[arg-type]  # as above
    assert len(registry.problems) > before
    assert registry.get("hostile.plain") is None


def test_a_class_that_holds_itself() -> None:
    """A cycle is a problem with its path, and any value will do there."""

    @event("hostile.cycle")
    @attrs.define
    class Node:
        value: int
        children: list[Node]

    found = declared("hostile.cycle")
    assert len(found.problems) == 1
    assert found.problems[0].startswith("children: ")
    assert text_of(found.fields[1].type) == "list[any]"


def test_a_million_fields() -> None:
    """A declaration has a bounded number of fields; past it, it is a problem and checks nothing."""
    register("hostile.million", "x", {f"f{n}": "int" for n in range(1_000_000)})
    found = declared("hostile.million")
    assert len(found.problems) == 1
    assert found.is_open


def test_odd_names_of_fields() -> None:
    """`__proto__`, keywords, dots, surrogates and the empty text are names like others."""
    names = ["__proto__", "class", "a.b", "$x", "", "\ud800", 'a"b', "é"]
    register("hostile.names", "x", dict.fromkeys(names, "int"))
    assert [one.name for one in declared("hostile.names").fields] == names
    assert declared("hostile.names").schema


def test_types_that_raise() -> None:
    """One annotation that raises hides no other."""

    class Evil:
        def __getattr__(self, name: str) -> Any:
            raise RuntimeError("boom")

        def __hash__(self) -> int:
            raise RuntimeError("boom")

    register("hostile.types", "x", {"bad": Evil(), "good": int})
    found = declared("hostile.types")
    assert len(found.problems) == 1
    assert text_of(found.fields[1].type) == "int"


def test_two_declarations_that_differ_are_named_with_both_places() -> None:
    """The problem names both; the first counts until one goes."""
    register("twice.declared", "x", {"a": "int"})
    register("twice.declared", "x", {"a": "str"})
    found = [one for one in registry.conflicts() if one.name == "twice.declared"]
    assert len(found) == 1
    assert len(found[0].places) == 2
    assert all("test_declaring.py" in place for place in found[0].places)
    assert text_of(declared("twice.declared").fields[0].type) == "int"


def test_the_same_declaration_twice_is_none() -> None:
    """Equal declarations in two places agree."""
    register("twice.same", "x", {"a": "int"})
    register("twice.same", "x", {"a": "int"})
    assert not [one for one in registry.conflicts() if one.name == "twice.same"]


def test_computed_fields_of_a_model_are_declared() -> None:
    """They are part of each event that the model emits; a mapping may leave them out."""

    @event("declared.computed")
    class Computed(pydantic.BaseModel):
        a: int

        @pydantic.computed_field
        def double(self) -> int:
            """Twice as much."""
            return 2 * self.a

    declaration = registry.get("declared.computed")
    assert declaration is not None
    double = declaration.fields[1]
    assert (double.name, double.type.kind, double.required) == ("double", "int", False)
    assert double.description == "Twice as much."
    assert Computed(a=1).__eventtracking_data__() == {"a": 1, "double": 2}  # type: ignore[attr-defined]  # made by `event`


def test_flags_are_numbers() -> None:
    """Members of a flag combine to values that no member has."""

    class Rights(enum.Flag):
        READ = 1
        WRITE = 2

    register("declared.flags", fields={"rights": Rights})
    declaration = registry.get("declared.flags")
    assert declaration is not None
    assert declaration.fields[0].type.kind == "int"


def test_contexts_are_apart_from_events() -> None:
    """A context may have the name of an event."""

    @context("both.kinds")
    @attrs.define
    class Both:
        user_id: Annotated[int, field(pii="user_id")]

    assert registry.get("both.kinds") is None
    found = registry.get("both.kinds", "context")
    assert found is not None
    assert found.fields[0].pii == ("user_id",)


BROKEN_FILES = {
    "no TOML": ("x = ", "cannot be parsed"),
    "an unknown table": ("[types]", "unknown key 'types'"),
    "events as a list": ("events = [1]", "events: expected a table"),
    "an unknown key": ("[events.a]\nfoo = 1", "events.a: unknown key 'foo'"),
    "an unknown key of a field": (
        "[events.a.fields.b]\nrequird = true",
        "events.a: b: unknown key 'requird'",
    ),
    "no type": ("[events.a.fields]\nb = {type = 'strr'}", "'strr' is no type"),
    "an own name": ("[events.'eventtracking.x']", "eventtracking's own"),
}


@pytest.mark.parametrize("case", BROKEN_FILES)
def test_broken_files(case: str, tmp_path: Path) -> None:
    """The problem of a file says where in it, and which words are accepted."""
    text, wanted = BROKEN_FILES[case]
    file = tmp_path / "a.toml"
    file.write_text(text)
    with pytest.raises(FileError, match=wanted.replace("'", ".")):
        load_layer(file)


def test_a_file_counts_as_long_as_it_is_used(tmp_path: Path) -> None:
    """Its declarations go with the last processor that names it."""
    file = tmp_path / "a.json"
    file.write_text('{"events": {"file.living": {"fields": {"a": "int"}}}}')
    layer = load_layer(file)
    assert load_layer(file) is layer
    assert registry.get("file.living") is not None
    del layer
    gc.collect()
    assert registry.get("file.living") is None


def test_an_unreadable_file(tmp_path: Path) -> None:
    """A file that is not there is named with the reason."""
    with pytest.raises(FileError, match="No such file"):
        load_layer(tmp_path / "none.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FileError, match="no UTF-8"):
        load_layer(tmp_path / "binary.toml")


def test_files_have_names_for_contexts() -> None:
    """Contexts stand in a table of their own."""
    (source,) = sources_of("[contexts.user.fields]\nid = 'int'", ".toml", "x")
    assert (source.kind, source.name) == ("context", "user")
