"""Proposing declarations from recorded events."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import attrs

from eventtracking import Event
from eventtracking_catalog.declaration import field_document
from eventtracking_catalog.registry import OWN_PREFIX
from eventtracking_catalog.types import ANY, NULL, Field, Type, union

__all__ = ["MIN_SAMPLES", "infer"]

MIN_SAMPLES: Final = 20
"""With fewer events of a type, a field that all of them have is proposed optional all the same."""
_MAX_KEYS: Final = 50
_NAME: Final = re.compile(r"[A-Za-z_$][A-Za-z0-9_$.:\- ]{0,63}\Z")
_VALUE: Final = re.compile(r"[0-9a-fA-F]{8,}|\d{3,}")
_WORDS: Final = {
    bool: "bool",
    int: "int",
    float: "float",
    str: "str",
    bytes: "bytes",
}


@attrs.define
class _Seen:
    """The values that one place of the events had."""

    count: int = 0
    nulls: int = 0
    scalars: dict[str, None] = attrs.field(factory=dict)
    objects: int = 0
    fields: dict[str, _Seen] = attrs.field(factory=dict)
    lists: int = 0
    items: _Seen | None = None

    def add(self, value: Any) -> None:
        """Take one value in."""
        self.count += 1
        if value is None:
            self.nulls += 1
        elif isinstance(value, Mapping):
            self.objects += 1
            for key, member in value.items():
                self.fields.setdefault(str(key), _Seen()).add(member)
        elif isinstance(value, list | tuple):
            self.lists += 1
            self.items = self.items or _Seen()
            for member in value:
                self.items.add(member)
        else:
            self.scalars[_word(value)] = None

    def join(self, other: _Seen) -> None:
        """Take in all that another place has seen."""
        self.count += other.count
        self.nulls += other.nulls
        self.scalars |= other.scalars
        self.objects += other.objects
        self.lists += other.lists
        for key, one in other.fields.items():
            self.fields.setdefault(key, _Seen()).join(one)
        if other.items is not None:
            self.items = self.items or _Seen()
            self.items.join(other.items)

    @property
    def is_map(self) -> bool:
        """Whether the keys look like values, or are too many to be names."""
        odd = any(not _NAME.match(key) or _VALUE.search(key) for key in self.fields)
        return not self.fields or odd or len(self.fields) > _MAX_KEYS

    def type(self, enough: bool) -> Type:
        """Propose the narrowest type that all values have."""
        words = [word for word in self.scalars if word != "int" or "float" not in self.scalars]
        options = [Type(kind=word) for word in words]
        if self.objects:
            options.append(self._object(enough))
        if self.items is not None:
            options.append(Type(kind="list", members=(self.items.type(enough),)))
        if not options:
            return ANY  # nothing but null was seen
        return union([*options, NULL] if self.nulls else options)

    def _object(self, enough: bool) -> Type:
        if not self.is_map:
            return Type(kind="object", fields=self.declared(enough))
        one = _Seen()
        for member in self.fields.values():
            one.join(member)
        return Type(kind="map", members=(one.type(enough),))

    def declared(self, enough: bool) -> tuple[Field, ...]:
        """Propose the fields of an object."""
        return tuple(
            Field(
                name=name,
                type=member.type(enough),
                required=enough and member.count == self.objects,
            )
            for name, member in self.fields.items()
        )


def _word(value: Any) -> str:
    natives = {"datetime": "datetime", "date": "date", "UUID": "uuid"}
    return _WORDS.get(type(value)) or natives.get(type(value).__name__, "any")


def infer(events: Iterable[Event]) -> str:
    """Return a declaration file, TOML, under which all of the events conform.

    How often a field was seen stands beside it in a comment.
    """
    seen: dict[str, _Seen] = {}
    for event in events:
        if not event.name.startswith(OWN_PREFIX):
            seen.setdefault(event.name, _Seen()).add(event.data)
    return "\n".join(_file(seen)) + "\n"


def _file(seen: Mapping[str, _Seen]) -> Iterator[str]:
    yield "# Proposed from recorded events: look it over, describe it, mark personal information."
    for name, one in sorted(seen.items()):
        yield ""
        yield f"[events.{_text(name)}]  # {one.count} event{'s' if one.count != 1 else ''}"
        yield 'description = ""'
        for field in one.declared(one.count >= MIN_SAMPLES):
            member = one.fields[field.name]
            yield ""
            yield f"[events.{_text(name)}.fields.{_text(field.name)}]"
            yield f"# seen in {member.count} of {one.count}"
            yield from _lines(field_document(field), member)


def _lines(document: Mapping[str, Any], seen: _Seen | None) -> Iterator[str]:
    for key, value in document.items():
        if key != "fields":
            yield f"{key} = {_inline(value)}"
    if "fields" not in document:
        return
    while seen is not None and seen.items is not None and not seen.objects:
        seen = seen.items  # the object stands in a list
    for name, inner in document["fields"].items():
        member = seen.fields.get(name) if seen is not None else None
        count = "" if member is None or seen is None else f"{member.count} of {seen.objects}"
        yield f"fields.{_text(name)} = {_inline(inner)}" + (f"  # seen in {count}" if count else "")


def _inline(value: Any) -> str:
    if isinstance(value, Mapping):
        return (
            "{ " + ", ".join(f"{_text(key)} = {_inline(one)}" for key, one in value.items()) + " }"
        )
    if isinstance(value, list):
        return f"[{', '.join(map(_inline, value))}]"
    return _text(value) if isinstance(value, str) else json.dumps(value)


def _text(text: str) -> str:
    """Write a TOML string; halves of characters, which it cannot hold, as text of their escape."""
    valid = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return json.dumps(valid, ensure_ascii=False).replace("\x7f", "\\u007f")
