"""Declarations from tables: those of files, and those of calls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import attrs

from eventtracking_catalog.classes import fields_of_class
from eventtracking_catalog.declaration import Declaration
from eventtracking_catalog.facts import Facts, field, words
from eventtracking_catalog.hints import MAX_DEPTH, MAX_FIELDS, Reader, limited
from eventtracking_catalog.notation import NotationError, type_of
from eventtracking_catalog.types import ANY, LIMITS, MISSING, Field, Type, union

__all__ = ["declaration_from"]

_TYPE_KEYS: Final = frozenset({"type", "items", "options", "fields", "enum", *LIMITS})
_FIELD_KEYS: Final = frozenset(
    {*_TYPE_KEYS, "required", "default", *(a.name for a in attrs.fields(Facts))}
)
_OWN_KEYS: Final = frozenset({"description", "version", "owner", "deprecated", "fields"})


def declaration_from(kind: str, name: str, table: Any, place: str) -> Declaration:
    """Read the table of one declaration; its faults are among its problems."""
    reading = _Reading(Reader(fields_of_class))
    facts: dict[str, str] = {}
    fields: tuple[Field, ...] = ()
    if isinstance(table, Mapping):
        reading.check_keys(table, _OWN_KEYS, "")
        for key in ("description", "version", "owner", "deprecated"):
            value = table.get(key)
            facts[key] = "yes" if value is True else str(value or "")
        fields = reading.fields(table.get("fields", {}), "", 0)
    else:
        reading.reader.problem("", f"expected a table, found a {type(table).__name__}")
    problems = tuple(reading.reader.problems)
    return Declaration(
        name=name,
        kind=kind,
        fields=fields,
        place=place,
        problems=problems,
        is_open=bool(problems) and not fields,
        **facts,
    )


@attrs.define
class _Reading:
    """One reading of one table."""

    reader: Reader

    def check_keys(self, table: Mapping[Any, Any], known: frozenset[str], path: str) -> None:
        for key in table:
            if key not in known:
                accepted = ", ".join(sorted(known))
                self.reader.problem(path, f"unknown key {str(key)[:100]!r}; accepted: {accepted}")

    def fields(self, tables: Any, path: str, depth: int) -> tuple[Field, ...]:
        if not isinstance(tables, Mapping):
            self.reader.problem(path, f"fields: expected a table, found a {_kind(tables)}")
            return ()
        if depth > MAX_DEPTH or not self.reader.spend(len(tables)):
            text = f"more than {MAX_FIELDS} fields or {MAX_DEPTH} levels, none of which is checked"
            self.reader.problem(path, text)
            return ()
        return tuple(
            self._field(str(name), table, f"{path}.{name}" if path else str(name), depth)
            for name, table in tables.items()
        )

    def _field(self, name: str, table: Any, path: str, depth: int) -> Field:
        if isinstance(table, str):
            return self._text(name, table)
        if not isinstance(table, Mapping):  # a type of Python's
            found, facts, optional = self.reader.field_type(table, path)
            known = {a.name: getattr(facts, a.name) for a in attrs.fields(Facts)}
            return Field(name=name, type=found, required=not optional, **known)
        self.check_keys(table, _FIELD_KEYS, path)
        one = field(**{a.name: table[a.name] for a in attrs.fields(Facts) if a.name in table})
        facts = attrs.evolve(one, pii=words(table.get("pii")))
        return Field(
            name=name,
            type=self._type(table, path, depth),
            required=bool(table.get("required", "default" not in table)),
            default=table.get("default", MISSING),
            **{a.name: getattr(facts, a.name) for a in attrs.fields(Facts)},
        )

    def _text(self, name: str, text: str) -> Field:
        try:
            return Field(name=name, type=type_of(text))
        except NotationError:
            return Field(name=name, type=ANY, description=text)

    def _type(self, table: Any, path: str, depth: int) -> Type:
        """Read the keys of a table that describe a type."""
        if isinstance(table, str):
            return self._named(table, None, path)
        if not isinstance(table, Mapping):
            return self.reader.field_type(table, path)[0]
        if depth > MAX_DEPTH:
            return self.reader.problem(path, f"nested deeper than {MAX_DEPTH} levels")
        found = self._base(table, path, depth + 1)
        limits = {name: table[name] for name in LIMITS if name in table}
        for name, limit in list(limits.items()):
            if isinstance(limit, bool) or not isinstance(
                limit, str if name == "pattern" else (int, float)
            ):
                self.reader.problem(path, f"{name}: found a {_kind(limit)}")
                del limits[name]
        return limited(found, tuple(sorted(limits.items())))

    def _base(self, table: Mapping[str, Any], path: str, depth: int) -> Type:
        if "enum" in table and "type" not in table:
            return self._enum(table["enum"], path)
        inner = None
        if "fields" in table:
            inner = Type(kind="object", fields=self.fields(table["fields"], path, depth))
        named = table.get("type", "any" if inner is None else "object")
        if not isinstance(named, str):
            return self._type(named, path, depth)
        options = table.get("options", ())
        if isinstance(options, list | tuple) and options:
            members = tuple(self._type(option, path, depth) for option in options)
            return Type(kind="tuple", members=members) if named == "tuple" else union(members)
        found = self._named(named, inner, path)
        if "items" in table and found.kind in ("list", "map"):
            return attrs.evolve(found, members=(self._type(table["items"], path, depth),))
        return found

    def _enum(self, values: Any, path: str) -> Type:
        plain = isinstance(values, list | tuple) and values
        if not plain or not all(isinstance(one, str | int | float) for one in values):
            return self.reader.problem(path, "enum: expected a list of text and numbers")
        return Type(kind="enum", values=tuple(values))

    def _named(self, text: str, inner: Type | None, path: str) -> Type:
        try:
            return type_of(text, inner)
        except NotationError as error:
            return self.reader.problem(path, f"type: {error}, found {text[:100]!r}")


def _kind(value: object) -> str:
    return type(value).__name__
