"""The model of a declaration: types and fields, the same for every kind of declaration."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from typing import Any, Final

import attrs

__all__ = ["ANY", "LIMITS", "MISSING", "NULL", "SCALARS", "Field", "Type", "union", "walk"]


class _Missing(enum.Enum):
    MISSING = "missing"

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = _Missing.MISSING
"""No value: neither an example nor a default, which may be None."""
SCALARS: Final = (
    "any",
    "null",
    "bool",
    "int",
    "float",
    "str",
    "bytes",
    "datetime",
    "date",
    "time",
    "timedelta",
    "uuid",
    "decimal",
)
LIMITS: Final = (
    "ge",
    "gt",
    "le",
    "lt",
    "multiple_of",
    "min_length",
    "max_length",
    "pattern",
)
"""The constraints of `msgspec.Meta` that a declaration keeps."""


@attrs.frozen(kw_only=True)
class Type:
    """The type of a field.

    `kind` is one of `SCALARS`, or `list`, `tuple`, `map`, `object`, `enum`, `union`, `opaque`.
    """

    kind: str
    members: tuple[Type, ...] = ()
    """The items of a list, the places of a tuple, the values of a map, the options of a union."""
    values: tuple[Any, ...] = ()
    """The members of an enum: text, integers, floats, booleans."""
    fields: tuple[Field, ...] = ()
    """The fields of an object."""
    limits: tuple[tuple[str, Any], ...] = ()
    """Constraints, sorted by name: `(("max_length", 3),)`."""
    label: str = ""
    """The name of an opaque type: a class that nothing here can check."""

    @property
    def options(self) -> tuple[Type, ...]:
        """The options of a union; of any other type, itself."""
        return self.members if self.kind == "union" else (self,)


@attrs.frozen(kw_only=True)
class Field:
    """A field, and the facts that its declaration states."""

    name: str
    type: Type
    required: bool = True
    description: str = ""
    example: Any = MISSING
    unit: str = ""
    pii: tuple[str, ...] = ()
    """Words for personal information; `("none",)` is an explicit none, `()` an unmarked field."""
    deprecated: str = ""
    renamed_from: str = ""
    default: Any = MISSING


ANY: Final = Type(kind="any")
NULL: Final = Type(kind="null")


def union(options: Sequence[Type]) -> Type:
    """Join types: nested unions are flattened, equal options and enums merged."""
    flat: list[Type] = []
    for option in options:
        flat += [inner for inner in option.options if inner not in flat]
    if ANY in flat:
        return ANY
    enums = [option for option in flat if option.kind == "enum"]
    if len(enums) > 1:
        merged = Type(kind="enum", values=_distinct([v for one in enums for v in one.values]))
        flat = [merged, *(option for option in flat if option.kind != "enum")]
    return flat[0] if len(flat) == 1 else Type(kind="union", members=tuple(flat))


def _distinct(values: Sequence[Any]) -> tuple[Any, ...]:
    """Drop repeated values; True and 1 differ."""
    return tuple({(type(value), value): value for value in values}.values())


def walk(fields: Sequence[Field], path: str = "") -> Iterator[tuple[str, Field]]:
    """List fields of every depth with their paths: `author.id`, `scores[*].value`, `names.*.id`."""
    for field in fields:
        own = f"{path}.{field.name}" if path else field.name
        yield own, field
        yield from _walk_type(field.type, own)


def _walk_type(one: Type, path: str) -> Iterator[tuple[str, Field]]:
    if one.kind == "object":
        yield from walk(one.fields, path)
    elif one.kind == "list":
        yield from _walk_type(one.members[0], f"{path}[*]")
    elif one.kind == "map":
        yield from _walk_type(one.members[0], f"{path}.*")
    elif one.kind == "tuple":
        for index, member in enumerate(one.members):
            yield from _walk_type(member, f"{path}[{index}]")
    elif one.kind == "union":
        objects = sum(member.kind == "object" for member in one.members)
        for index, member in enumerate(one.members):
            marked = objects > 1 and member.kind == "object"
            yield from _walk_type(member, f"{path}|{index + 1}" if marked else path)
