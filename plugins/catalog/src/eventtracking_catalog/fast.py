"""The fast check: a declaration compiled to a type that msgspec converts data to.

Conversion stops at the first problem and costs well under a microsecond; `problems` lists them all.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated, Any, Final, Literal, Union

import msgspec
from msgspec import UNSET, Meta

from eventtracking_catalog.types import Field, Type

__all__ = ["KINDS", "Inexpressible", "compiled", "msgspec_type"]

KINDS: Final = ("missing_field", "unknown_field", "wrong_type")
"""The kinds of problems that lie in the data."""

_SCALARS: Final[dict[str, Any]] = {
    "any": Any,
    "null": None,
    "bool": bool,
    "int": int,
    "float": float,
    "str": str,
    "bytes": bytes,
    "datetime": dt.datetime,
    "date": dt.date,
    "time": dt.time,
    "timedelta": dt.timedelta,
    "uuid": uuid.UUID,
    "decimal": Decimal,
}


class Inexpressible(Exception):  # noqa: N818 - an answer rather than an error
    """Raised for a type that msgspec has no words for; it is checked by the slow path alone."""


def compiled(fields: Sequence[Field], relaxed: frozenset[str] = frozenset()) -> Any:
    """Compile the fields of a declaration.

    Args:
        relaxed: The kinds of problems that must not fail the check.

    Raises:
        Inexpressible: If one of the types has no words in msgspec.
    """
    found = _struct(fields, relaxed)
    try:
        msgspec.json.Decoder(found)  # resolves and checks every type, once
    except Exception as error:
        raise Inexpressible(str(error)[:200]) from error
    return found


def _struct(fields: Sequence[Field], relaxed: frozenset[str]) -> Any:
    definitions: list[Any] = []
    names = {}
    for index, field in enumerate(fields):
        attribute = f"f{index}"
        names[attribute] = field.name
        one = Any if "wrong_type" in relaxed else msgspec_type(field.type, relaxed)
        optional = not field.required or "missing_field" in relaxed
        definitions.append((attribute, one, UNSET) if optional else (attribute, one))
    try:
        return msgspec.defstruct(
            "Data",
            definitions,
            rename=names,
            kw_only=True,
            gc=False,
            forbid_unknown_fields="unknown_field" not in relaxed,
        )
    except Exception as error:
        raise Inexpressible(f"field names: {error}"[:200]) from error


def msgspec_type(one: Type, relaxed: frozenset[str] = frozenset()) -> Any:
    """Return a type as msgspec has it.

    Raises:
        Inexpressible: If it has none.
    """
    if one.kind == "object":
        return _struct(one.fields, relaxed)
    if one.kind == "enum":
        if any(type(value) not in (str, int) for value in one.values):
            raise Inexpressible("an enum of booleans or floats")
        return Literal[one.values]
    if one.kind == "union":
        options = tuple(msgspec_type(member, relaxed) for member in one.members)
        return Union[options]  # noqa: UP007 - made at run time
    if one.kind == "opaque":
        raise Inexpressible(f"{one.label} is no type that can be checked")
    return _limited(_plain(one, relaxed), one)


def _plain(one: Type, relaxed: frozenset[str]) -> Any:
    if one.kind == "list":
        return list[msgspec_type(one.members[0], relaxed)]  # type: ignore[misc]  # made at run time
    if one.kind == "map":
        return dict[str, msgspec_type(one.members[0], relaxed)]  # type: ignore[misc]  # as above
    if one.kind == "tuple":
        members = tuple(msgspec_type(member, relaxed) for member in one.members)
        return tuple.__class_getitem__(members)
    return _SCALARS[one.kind]


def _limited(found: Any, one: Type) -> Any:
    if not one.limits:
        return found
    try:
        return Annotated[found, Meta(**dict(one.limits))]
    except Exception as error:
        raise Inexpressible(str(error)[:200]) from error
