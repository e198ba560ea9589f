"""The canonical form of a declaration, and the identity that is computed from it.

The page `docs/explanation/canonical-form.md` specifies it, with test vectors. A change here changes
the identity of every event type: never make one without a new page.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from eventtracking_catalog.types import MISSING, Field, Type, walk

__all__ = ["canonical_json", "digest", "docs_form", "plain", "record_id", "shape_form"]

_HEX_DIGITS: Final = 16


def canonical_json(value: Any) -> str:
    """Write JSON with sorted keys, without spaces, in ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def digest(value: Any) -> str:
    """Return 16 hex digits of the SHA-256 of a value's canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode("ascii")).hexdigest()[:_HEX_DIGITS]


def shape_form(name: str, fields: Sequence[Field]) -> dict[str, Any]:
    """Return the canonical form of names, types, requirement and PII marks."""
    return {"name": name, "fields": _fields_form(fields)}


def _fields_form(fields: Sequence[Field]) -> dict[str, Any]:
    return {
        field.name: {
            "type": type_form(field.type),
            "required": field.required,
            "pii": list(field.pii),
        }
        for field in fields
    }


def type_form(one: Type) -> Any:
    """Return the canonical form of a type: a word for a scalar, a mapping for any other."""
    if one.kind == "list":
        form: dict[str, Any] = {"list": type_form(one.members[0])}
    elif one.kind == "map":
        form = {"map": type_form(one.members[0])}
    elif one.kind == "tuple":
        form = {"tuple": [type_form(member) for member in one.members]}
    elif one.kind == "object":
        form = {"object": _fields_form(one.fields)}
    elif one.kind == "enum":
        form = {"enum": sorted(map(plain, one.values), key=canonical_json)}
    elif one.kind == "union":
        form = {"union": sorted(map(type_form, one.members), key=canonical_json)}
    elif one.kind == "opaque":
        form = {"opaque": one.label}
    elif one.limits:
        form = {"scalar": one.kind}
    else:
        return one.kind
    return {**form, **{name: _number(limit) for name, limit in one.limits}}


def _number(limit: Any) -> Any:
    return int(limit) if isinstance(limit, float) and limit.is_integer() else limit


def docs_form(facts: Mapping[str, Any], fields: Sequence[Field]) -> dict[str, Any]:
    """Return the canonical form of the documentation, without empty texts."""
    documented = {path: _docs_of(field) for path, field in walk(fields)}
    form = {key: value for key, value in facts.items() if value}
    return {**form, "fields": {path: docs for path, docs in documented.items() if docs}}


def _docs_of(field: Field) -> dict[str, Any]:
    texts = {
        "description": field.description,
        "unit": field.unit,
        "deprecated": field.deprecated,
        "renamed_from": field.renamed_from,
    }
    docs: dict[str, Any] = {key: text for key, text in texts.items() if text}
    for key, value in (("example", field.example), ("default", field.default)):
        if value is not MISSING:
            docs[key] = plain(value)
    return docs


def plain(value: Any) -> Any:
    """Return a value as JSON has it; a value that JSON has no word for becomes its type's name."""
    try:
        built = msgspec.to_builtins(value, str_keys=True)
        json.dumps(built, allow_nan=False)
    except Exception:  # noqa: BLE001 - an example or a default may be any object of the application
        return f"<{type(value).__qualname__}>"
    return built


def record_id(schema: str, docs: str) -> str:
    """Return the id of the record that documents a schema: the uuid5 of `name@shape/docs`."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, _valid(f"{schema}/{docs}")))


def _valid(text: str) -> str:
    """`uuid5` encodes to UTF-8, which lone surrogates do not survive."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
