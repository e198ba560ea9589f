"""The slow path: every problem of an event's data, each with its path and never a value."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgspec

from eventtracking_catalog.canonical import plain
from eventtracking_catalog.fast import Inexpressible, msgspec_type
from eventtracking_catalog.types import Field, Type

__all__ = ["MAX_PROBLEMS", "Problem", "conforms", "first_problem", "problems_of", "pruned"]

MAX_PROBLEMS: Final = 64
_CONTAINERS: Final = ("list", "tuple", "map", "object", "union", "enum")


class Problem(NamedTuple):
    """One problem: its kind, and the path of the field."""

    kind: str
    path: str


def problems_of(
    fields: Sequence[Field], data: Mapping[str, Any], relaxed: frozenset[str] = frozenset()
) -> list[Problem]:
    """List the distinct problems of data, at most 64.

    Keys of mappings show as `*`, items of lists as `[*]`, unknown fields as `?`.

    Args:
        relaxed: The kinds that are allowed.
    """
    found: dict[Problem, None] = {}
    try:
        _Walk(found, relaxed).object(fields, data, "data")
    except _Enough:
        pass
    except RecursionError:
        found[Problem("wrong_type", "data")] = None
    return list(found)


class _Enough(Exception):  # noqa: N818 - ends a walk
    """There are as many problems as are kept."""


class _Walk:
    def __init__(self, found: dict[Problem, None], relaxed: frozenset[str]) -> None:
        self._found = found
        self._relaxed = relaxed

    def _add(self, kind: str, path: str) -> None:
        if kind not in self._relaxed:
            self._found[Problem(kind, path)] = None
            if len(self._found) >= MAX_PROBLEMS:
                raise _Enough

    def object(self, fields: Sequence[Field], data: Mapping[str, Any], path: str) -> None:
        """Check the fields of an object."""
        known = 0
        for field in fields:
            if field.name in data:
                known += 1
                self.value(field.type, data[field.name], f"{path}.{field.name}")
            elif field.required:
                self._add("missing_field", f"{path}.{field.name}")
        if len(data) > known:
            self._add("unknown_field", f"{path}.?")

    def value(self, one: Type, value: Any, path: str) -> None:
        """Check a value of any type."""
        if one.kind == "object" and isinstance(value, dict):
            self.object(one.fields, value, path)
        elif one.kind == "list" and isinstance(value, list) and _fits_limits(one, value):
            for item in value:
                self.value(one.members[0], item, f"{path}[*]")
        elif one.kind == "map" and isinstance(value, dict) and _fits_limits(one, value):
            for item in value.values():
                self.value(one.members[0], item, f"{path}.*")
        elif one.kind == "tuple" and isinstance(value, list) and len(value) == len(one.members):
            for index, (member, item) in enumerate(zip(one.members, value, strict=True)):
                self.value(member, item, f"{path}[{index}]")
        elif one.kind == "union":
            self._union(one, value, path)
        elif not _fits(one, value):
            self._add("wrong_type", path)

    def _union(self, one: Type, value: Any, path: str) -> None:
        if any(conforms(member, value, self._relaxed) for member in one.members):
            return
        kinds = ("object", "map") if isinstance(value, dict) else ("list", "tuple")
        near = [member for member in one.members if member.kind in kinds]
        if len(near) == 1 and isinstance(value, dict | list):
            self.value(near[0], value, path)
        else:
            self._add("wrong_type", path)


def conforms(one: Type, value: Any, relaxed: frozenset[str] = frozenset()) -> bool:
    """Tell whether a value conforms to a type."""
    found: dict[Problem, None] = {}
    try:
        _Walk(found, relaxed).value(one, value, "")
    except (_Enough, RecursionError):
        return False
    return not found


def _fits(one: Type, value: Any) -> bool:
    if one.kind in ("any", "opaque"):
        return True
    if one.kind == "enum":
        return _is_member(one.values, value)
    if one.kind in _CONTAINERS:
        return False
    return _converts(_leaf(one), value)


def _is_member(values: Sequence[Any], value: Any) -> bool:
    if isinstance(value, dict | list):
        return False
    text = value if isinstance(value, str | int | float) else plain(value)
    return any(text == one and _same_kind(text, one) for one in values)


def _same_kind(value: Any, member: Any) -> bool:
    """An integer may stand for a float, as everywhere; True is no 1, and 1.0 no 1."""
    return type(value) is type(member) or (type(value) is int and type(member) is float)


def _fits_limits(one: Type, value: Any) -> bool:
    return not one.limits or _converts(_leaf(one), value)


@lru_cache(maxsize=1_024)
def _leaf(one: Type) -> Any:
    """The msgspec type of a scalar, or of a container alone, for its limits."""
    if one.kind in ("list", "map"):
        one = Type(kind=one.kind, members=(Type(kind="any"),), limits=one.limits)
    try:
        return msgspec_type(one)
    except Inexpressible:
        return Any


def _converts(kind: Any, value: Any) -> bool:
    try:
        msgspec.convert(value, kind)
    except Exception:  # noqa: BLE001 - limits such as a pattern are the declaration's, and may raise
        return False
    return True


def first_problem(error: Exception) -> Problem:
    """Read the kind and the path from an error of msgspec, without any value."""
    text = str(error) if isinstance(error, msgspec.ValidationError) else ""
    _, found, path = text.rpartition(" - at `$")
    path = "data" + (path.removesuffix("`").replace("[...]", ".*") if found else "")
    head, _, tail = path.partition("[")
    path = f"{head}[*]" if tail else head
    if text.startswith("Object contains unknown field"):
        return Problem("unknown_field", f"{path}.?")
    if text.startswith("Object missing required field"):
        return Problem("missing_field", path)
    return Problem("wrong_type", path)


def pruned(fields: Sequence[Field], data: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of data without unknown fields, at every depth."""
    known = {field.name: field.type for field in fields}
    return {key: _pruned(known[key], value) for key, value in data.items() if key in known}


def _pruned(one: Type, value: Any) -> Any:
    prune: Callable[[Any], Any] | None = None
    if one.kind == "union":
        near = [member for member in one.members if member.kind in ("object", "list", "map")]
        return _pruned(near[0], value) if len(near) == 1 else value
    if isinstance(value, dict):
        if one.kind == "object":
            return pruned(one.fields, value)
        prune = (lambda item: _pruned(one.members[0], item)) if one.kind == "map" else None
        return {key: prune(item) for key, item in value.items()} if prune else value
    if isinstance(value, list) and one.kind == "list":
        return [_pruned(one.members[0], item) for item in value]
    return value
