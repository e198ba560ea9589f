"""From Python's annotations to the model of types."""

from __future__ import annotations

import collections.abc
import datetime as dt
import enum
import types
import typing
import uuid
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, Final, Union, get_args, get_origin

import attrs
import msgspec

from eventtracking_catalog.canonical import plain
from eventtracking_catalog.facts import Facts, limits_in
from eventtracking_catalog.types import ANY, NULL, Field, Type, union

__all__ = ["MAX_DEPTH", "MAX_FIELDS", "Reader", "type_name"]

MAX_FIELDS: Final = 2_000
"""Fields of one declaration, those of nested objects included."""
MAX_DEPTH: Final = 32

_PLAIN: Final[dict[Any, str]] = {
    None: "null",
    type(None): "null",
    bool: "bool",
    int: "int",
    float: "float",
    str: "str",
    bytes: "bytes",
    bytearray: "bytes",
    memoryview: "bytes",
    dt.datetime: "datetime",
    dt.date: "date",
    dt.time: "time",
    dt.timedelta: "timedelta",
    uuid.UUID: "uuid",
    Decimal: "decimal",
    Any: "any",
    object: "any",
}
_LISTS: Final = (list, set, frozenset, collections.abc.Sequence, collections.abc.Set)
_LIST_ORIGINS: Final = (
    *_LISTS,
    collections.abc.MutableSequence,
    collections.abc.MutableSet,
    collections.abc.Collection,
    collections.abc.Iterable,
)
_WRAPPERS: Final = ("Required", "NotRequired", "ReadOnly", "Final")


@attrs.define
class Reader:
    """One reading of one declaration; notes problems instead of raising."""

    fields_of: Callable[[type[Any], Reader, str], tuple[Field, ...] | None]
    """Reads the fields of a class; None for a class without fields."""
    problems: dict[str, None] = attrs.field(factory=dict)
    facts: Facts = attrs.field(factory=Facts)
    """Those of the field that is being read."""
    optional: bool | None = None
    """Whether the field may be left out, if its annotation says so: `UNSET`, `NotRequired`."""
    _left: int = MAX_FIELDS
    _open: list[type[Any]] = attrs.field(factory=list)

    def problem(self, path: str, text: str) -> Type:
        """Note a problem; any value will do for that part."""
        self.problems[f"{path}: {text}" if path else text] = None
        return ANY

    def spend(self, count: int) -> bool:
        """Tell whether the declaration may have so many fields more."""
        self._left -= count
        return self._left >= 0

    def field_type(self, hint: Any, path: str) -> tuple[Type, Facts, bool | None]:
        """Read the annotation of a field: its type, its facts, and whether it may be left out."""
        outer = self.facts, self.optional
        self.facts, self.optional = Facts(), None
        try:
            found = self.read(hint, path)
            return found, self.facts, self.optional
        except Exception as error:  # noqa: BLE001 - a type is code of the application
            return self.problem(path, f"the type raised {type(error).__name__}"), Facts(), None
        finally:
            self.facts, self.optional = outer

    def read(self, hint: Any, path: str) -> Type:
        """Read an annotation."""
        if _hashable(hint) and hint in _PLAIN:
            return Type(kind=_PLAIN[hint])
        origin = get_origin(hint)
        if hasattr(hint, "__metadata__"):
            return self._annotated(hint, path)
        if getattr(origin, "_name", None) in _WRAPPERS or origin is typing.Final:
            return self._wrapped(hint, origin, path)
        if origin in (Union, types.UnionType):
            return self._union(get_args(hint), path)
        if origin is typing.Literal:
            return _enum(get_args(hint))
        if hint is msgspec.UnsetType:
            self.optional = True
            return NULL
        return self._generic(hint, origin, path)

    def _annotated(self, hint: Any, path: str) -> Type:
        found = self.read(hint.__origin__, path)
        for one in hint.__metadata__:
            if isinstance(one, Facts):
                self._merge(one)
        return limited(found, limits_in(hint.__metadata__))

    def _merge(self, one: Facts) -> None:
        """Join facts: the outer ones win, PII marks add up."""
        given = {a.name: getattr(one, a.name) for a in attrs.fields(Facts)}
        blank = Facts()
        known = {name: value for name, value in given.items() if value != getattr(blank, name)}
        if self.facts.pii and one.pii:
            marks = {*self.facts.pii, *one.pii}
            known["pii"] = tuple(sorted(marks - {"none"} if len(marks) > 1 else marks))
        self.facts = attrs.evolve(self.facts, **known)

    def _wrapped(self, hint: Any, origin: Any, path: str) -> Type:
        word = getattr(origin, "_name", None)
        if word in ("Required", "NotRequired"):
            self.optional = word == "NotRequired"
        return self.read(get_args(hint)[0], path)

    def _union(self, arguments: Sequence[Any], path: str) -> Type:
        if msgspec.UnsetType in arguments:
            self.optional = True
        options = [self.read(one, path) for one in arguments if one is not msgspec.UnsetType]
        return union(options or [NULL])

    def _generic(self, hint: Any, origin: Any, path: str) -> Type:
        kind = origin or hint
        arguments = get_args(hint)
        if kind is tuple and arguments and arguments[-1] is not Ellipsis:
            members = [self.read(one, path) for one in arguments if one != ()]
            return Type(kind="tuple", members=tuple(members))
        if kind in _LIST_ORIGINS or kind is tuple:
            item = self.read(arguments[0], path) if arguments else ANY
            return Type(kind="list", members=(item,))
        if _is_mapping(kind):
            item = self.read(arguments[1], path) if len(arguments) == 2 else ANY
            return Type(kind="map", members=(item,))
        for alias in ("__supertype__", "__value__", "__bound__"):  # NewType, `type X =`, TypeVar
            if not isinstance(hint, type) and getattr(hint, alias, None) is not None:
                return self.read(getattr(hint, alias), path)
        if isinstance(kind, type):
            return self._class(kind, path)
        if isinstance(hint, str | typing.ForwardRef):
            return self.problem(path, f"the name {_forward(hint)!r} cannot be resolved")
        return Type(kind="opaque", label=type_name(hint))

    def _class(self, kind: type[Any], path: str) -> Type:
        if issubclass(kind, enum.Flag):
            return Type(kind="int")  # members combine to numbers that are no members
        if issubclass(kind, enum.Enum):
            return _enum([member.value for member in kind])
        found = self._object(kind, path)
        if found is not None:
            return found
        for base in (*_LISTS[:3], dict):
            if issubclass(kind, base):
                return Type(kind="map" if base is dict else "list", members=(ANY,))
        for plain_base in (str, int, float, bytes, dt.datetime, dt.date, uuid.UUID, Decimal):
            if issubclass(kind, plain_base):
                return Type(kind=_PLAIN[plain_base])
        return Type(kind="opaque", label=type_name(kind))

    def _object(self, kind: type[Any], path: str) -> Type | None:
        if kind in self._open:
            return self.problem(path, f"{kind.__qualname__} holds itself, which is not checked")
        if len(self._open) >= MAX_DEPTH:
            return self.problem(path, f"nested deeper than {MAX_DEPTH} levels")
        self._open.append(kind)
        try:
            fields = self.fields_of(kind, self, path)
        finally:
            self._open.pop()
        return None if fields is None else Type(kind="object", fields=fields)


def limited(one: Type, limits: tuple[tuple[str, Any], ...]) -> Type:
    """Add constraints to a type; of a union, to each option but null."""
    if not limits or one.kind in ("any", "null", "object", "enum", "opaque", "tuple"):
        return one
    if one.kind == "union":
        return attrs.evolve(one, members=tuple(limited(option, limits) for option in one.members))
    return attrs.evolve(one, limits=tuple(sorted({**dict(one.limits), **dict(limits)}.items())))


def _enum(values: Sequence[Any]) -> Type:
    found = [value.value if isinstance(value, enum.Enum) else value for value in values]
    options = []
    known = tuple(plain(value) for value in found if value is not None)
    known = tuple(v if isinstance(v, str | int | float) else str(v) for v in known)
    if known:
        options.append(Type(kind="enum", values=known))
    if None in found:
        options.append(NULL)
    return union(options or [NULL])


def _is_mapping(kind: Any) -> bool:
    """Tell whether a class is a mapping; a TypedDict is an object."""
    is_mapping = isinstance(kind, type) and issubclass(kind, collections.abc.Mapping)
    return is_mapping and not hasattr(kind, "__total__")


def _hashable(hint: Any) -> bool:
    try:
        hash(hint)
    except Exception:  # noqa: BLE001 - a type is code of the application
        return False
    return True


def _forward(hint: Any) -> str:
    return str(getattr(hint, "__forward_arg__", hint))[:100]


def type_name(hint: Any) -> str:
    """Return the qualified name of a type."""
    name = getattr(hint, "__qualname__", None)
    module = getattr(hint, "__module__", "")
    return f"{module}.{name}"[:200] if isinstance(name, str) else type(hint).__qualname__
