"""Declarations as JSON Schema (2020-12), for CloudEvents and for other tools."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from eventtracking_catalog.canonical import plain
from eventtracking_catalog.declaration import Declaration
from eventtracking_catalog.types import MISSING, Field, Type

__all__ = ["cloudevents", "json_schema", "sample", "schema_uri"]

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_SCALARS: Final[dict[str, dict[str, Any]]] = {
    "any": {},
    "opaque": {},
    "null": {"type": "null"},
    "bool": {"type": "boolean"},
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "str": {"type": "string"},
    "bytes": {"type": "string", "contentEncoding": "base64"},
    "datetime": {"type": "string", "format": "date-time"},
    "date": {"type": "string", "format": "date"},
    "time": {"type": "string", "format": "time"},
    "timedelta": {"type": "string", "format": "duration"},
    "uuid": {"type": "string", "format": "uuid"},
    "decimal": {"type": ["string", "number"]},
}
_SAMPLES: Final[dict[str, Any]] = {
    "bool": True,
    "int": 1,
    "float": 1.5,
    "str": "text",
    "bytes": "dGV4dA==",
    "datetime": "2026-01-02T03:04:05Z",
    "date": "2026-01-02",
    "time": "03:04:05",
    "timedelta": "PT1S",
    "uuid": "00000000-0000-0000-0000-000000000000",
    "decimal": "1.5",
}
_BOUNDS: Final = {
    "ge": "minimum",
    "gt": "exclusiveMinimum",
    "le": "maximum",
    "lt": "exclusiveMaximum",
    "multiple_of": "multipleOf",
    "pattern": "pattern",
}


def schema_uri(declaration: Declaration) -> str:
    """Return the URI of a schema: `urn:eventtracking:course.enrolled@3f2a9c0d51e84b77`."""
    from urllib.parse import quote

    name = quote(declaration.name.encode("utf-8", "backslashreplace"), safe="")
    return f"urn:eventtracking:{name}@{declaration.shape}"


def json_schema(declaration: Declaration) -> dict[str, Any]:
    """Return the JSON Schema of an event's data."""
    schema: dict[str, Any] = {
        "$schema": _DIALECT,
        "$id": schema_uri(declaration),
        "title": declaration.name,
    }
    if declaration.description:
        schema["description"] = declaration.description
    if declaration.deprecated:
        schema["deprecated"] = True
    if declaration.is_open:
        return schema | {"type": "object"}
    return schema | _object(declaration.fields)


def cloudevents(declarations: Iterable[Declaration]) -> list[dict[str, Any]]:
    """Describe event types as CloudEvents: type, dataschema, and the schema behind that URI."""
    return [
        {
            "type": one.name,
            "dataschema": schema_uri(one),
            "datacontenttype": "application/json",
            "schema": json_schema(one),
        }
        for one in declarations
    ]


def _object(fields: Iterable[Field]) -> dict[str, Any]:
    found = list(fields)
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {field.name: _field(field) for field in found},
        "additionalProperties": False,
    }
    required = [field.name for field in found if field.required]
    return schema | ({"required": required} if required else {})


def _field(field: Field) -> dict[str, Any]:
    schema = _type(field.type)
    if field.description:
        schema["description"] = field.description
    if field.example is not MISSING:
        schema["examples"] = [plain(field.example)]
    if field.default is not MISSING:
        schema["default"] = plain(field.default)
    if field.deprecated:
        schema["deprecated"] = True
    if field.unit:
        schema["x-unit"] = field.unit
    if field.pii:
        schema["x-pii"] = list(field.pii)
    return schema


def _type(one: Type) -> dict[str, Any]:
    if one.kind == "union":
        return {"anyOf": [_type(member) for member in one.members]}
    if one.kind == "enum":
        return {"enum": [plain(value) for value in one.values]}
    if one.kind == "object":
        return _object(one.fields)
    return _container(one) | {_word(one, name): limit for name, limit in one.limits}


def _container(one: Type) -> dict[str, Any]:
    if one.kind == "list":
        return {"type": "array", "items": _type(one.members[0])}
    if one.kind == "map":
        return {"type": "object", "additionalProperties": _type(one.members[0])}
    if one.kind == "tuple":
        count = len(one.members)
        items = [_type(member) for member in one.members]
        bounds = {"minItems": count, "maxItems": count}
        return {"type": "array", **({"prefixItems": items} if items else {}), **bounds}
    return dict(_SCALARS[one.kind])


def _word(one: Type, name: str) -> str:
    if name in _BOUNDS:
        return _BOUNDS[name]
    noun = {"list": "Items", "map": "Properties"}.get(one.kind, "Length")
    return f"{name[:3]}{noun}"


def sample(fields: Iterable[Field]) -> dict[str, Any]:
    """Return data that has every required field, with its example or a value of its type."""
    return {
        field.name: plain(field.example) if field.example is not MISSING else _sample(field.type)
        for field in fields
        if field.required or field.example is not MISSING
    }


def _sample(one: Type) -> Any:
    first = one.options[0]
    if first.kind == "object":
        return sample(first.fields)
    if first.kind == "enum":
        return plain(first.values[0])
    if first.kind in ("list", "map"):
        return [] if first.kind == "list" else {}
    if first.kind == "tuple":
        return [_sample(member) for member in first.members]
    return _SAMPLES.get(first.kind)
