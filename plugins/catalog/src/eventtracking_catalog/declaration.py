"""A declaration as it was read: name, fields, documentation, identity."""

from __future__ import annotations

from typing import Any

import attrs

from eventtracking_catalog.canonical import digest, docs_form, plain, shape_form
from eventtracking_catalog.notation import text_of
from eventtracking_catalog.types import MISSING, Field, Type

__all__ = ["Declaration", "field_document"]


@attrs.frozen(kw_only=True, eq=False)
class Declaration:
    """An event type, or a context, as its declaration states it."""

    name: str
    kind: str = "event"
    """`event` or `context`."""
    fields: tuple[Field, ...] = ()
    description: str = ""
    version: str = ""
    owner: str = ""
    deprecated: str = ""
    place: str = ""
    """Where it stands: `shop/events.py:12 (CourseEnrolled)`."""
    problems: tuple[str, ...] = ()
    """The parts that could not be read, which accept any value."""
    is_open: bool = False
    """Whether the fields could not be read at all, so that any data conforms."""
    shape: str = attrs.field(init=False)
    """16 hex digits for names, types, requirement and PII marks."""
    docs: str = attrs.field(init=False)
    """16 hex digits for the documentation."""

    @shape.default
    def _compute_shape(self) -> str:
        return digest(shape_form(self.name, self.fields))

    @docs.default
    def _compute_docs(self) -> str:
        return digest(docs_form(self.facts, self.fields))

    @property
    def facts(self) -> dict[str, str]:
        """The documentation of the type as a whole."""
        return {
            "description": self.description,
            "version": self.version,
            "owner": self.owner,
            "deprecated": self.deprecated,
        }

    @property
    def schema(self) -> str:
        """The identity that events carry: `course.enrolled@3f2a9c0d51e84b77`."""
        return f"{self.name}@{self.shape}"

    def document(self) -> dict[str, Any]:
        """Return the declaration in plain values, for records, locks and `show --json`."""
        facts = {key: text for key, text in self.facts.items() if text}
        return {
            "schema": self.schema,
            "docs": self.docs,
            "name": self.name,
            **facts,
            "declared_at": self.place,
            "fields": {field.name: field_document(field) for field in self.fields},
        }


def field_document(field: Field) -> dict[str, Any]:
    """Describe a field in the keys that a declaration file takes."""
    document: dict[str, Any] = {**type_document(field.type), "required": field.required}
    texts = ("description", "unit", "deprecated", "renamed_from")
    document |= {key: getattr(field, key) for key in texts if getattr(field, key)}
    if field.pii:
        document["pii"] = list(field.pii)
    for key, value in (("example", field.example), ("default", field.default)):
        if value is not MISSING:
            document[key] = plain(value)
    return document


def type_document(one: Type) -> dict[str, Any]:
    """Describe a type in the keys that a declaration file takes."""
    solid = [option for option in one.options if option.kind != "null"]
    objects = [deep for deep in _deep(one) if deep.kind == "object"]
    limited = [deep for deep in _deep(one) if deep.limits]
    if len(objects) > 1 or limited not in ([], solid if len(solid) == 1 else []):
        return _nested_document(one)
    document: dict[str, Any] = {"type": text_of(one)}
    if objects:
        document["fields"] = {field.name: field_document(field) for field in objects[0].fields}
    return document | dict(limited[0].limits if limited else ())


def _nested_document(one: Type) -> dict[str, Any]:
    """Describe a type that one line of text cannot: members stand in tables of their own."""
    if one.kind in ("list", "map"):
        word = "list" if one.kind == "list" else "dict"
        return {"type": word, "items": type_document(one.members[0]), **dict(one.limits)}
    members = [type_document(member) for member in one.members]
    return {"type": one.kind, "options": members, **dict(one.limits)}


def _deep(one: Type) -> list[Type]:
    """A type and its members, fields of objects apart."""
    return [one, *(deep for member in one.members for deep in _deep(member))]
