"""The snapshot: a deep copy of what the caller gave, in plain types, that never raises.

What the fast path refuses goes to the slow path, which is iterative (no recursion to exhaust),
bounded in depth and size, and also lists a container before it calls any code of the caller's.
(`msgspec.to_builtins` reads dataclasses and subclasses of sets through code of the caller's, and
crashes the interpreter when that changes a list.)
"""

from __future__ import annotations

import base64
import math
import uuid
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from functools import partial
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET

from eventtracking._data.copy import MAX_DEPTH, fast_copy

__all__ = ["Snapshot", "clean_text", "field_values", "snapshot"]

MAX_VALUES = 50_000
"""Values in one event that the slow path copies; what comes after is marked."""


class Snapshot(NamedTuple):
    """A copy, and what had to be mended to make it."""

    value: Any
    problems: tuple[str, ...] = ()


def snapshot(value: Any) -> Snapshot:
    """Copy a value deeply into plain types."""
    try:
        return Snapshot(fast_copy(value))
    except Exception:  # noqa: BLE001 - whatever the caller's data raises is mended
        return _Copier().copy(value)


def clean_text(value: Any, plain: bool = False) -> Any:
    """Return a copy of a snapshot's value whose text is all valid Unicode.

    Args:
        plain: Also turn everything that JSON has no word for into text, and NaN and infinities into
            None.
    """
    return _Copier(clean=True, plain=plain).copy(value).value


def _valid(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


class _Task(NamedTuple):
    """A value still to be copied, and where the copy goes."""

    value: Any
    put: Callable[[Any], object]
    depth: int
    above: tuple[int, ...]


class _Copier:
    """One walk over one value."""

    def __init__(self, clean: bool = False, plain: bool = False) -> None:
        self._clean = clean
        self._plain = plain
        self._problems: dict[str, None] = {}
        self._left = MAX_VALUES

    def copy(self, value: Any) -> Snapshot:
        found: list[Any] = [None]
        tasks = [_Task(value, partial(found.__setitem__, 0), 0, ())]
        while tasks:
            task = tasks.pop()
            self._left -= 1
            try:
                self._step(task, tasks)
            except Exception:  # noqa: BLE001 - the caller's own code, in a property or a __str__
                task.put(self._mark("unrepresentable", task.value))
        return Snapshot(found[0], tuple(self._problems))

    def _mark(self, problem: str, value: Any) -> str:
        text = f"<{problem} {_type_name(value)}>"
        self._problems[text] = None
        return text

    def _step(self, task: _Task, tasks: list[_Task]) -> None:
        value = task.value
        if self._left < 0:
            task.put(self._mark("too many values:", value))
            return
        members = _members(value)
        if members is None:
            task.put(self._scalar(value, task, tasks))
        elif id(value) in task.above:
            task.put(self._mark("cycle:", value))
        elif task.depth >= MAX_DEPTH:
            task.put(self._mark("too deep:", value))
        elif isinstance(members, dict):
            self._open_dict(members, task, tasks)
        else:
            self._open_list(members, task, tasks)

    def _open_list(self, members: list[Any], task: _Task, tasks: list[_Task]) -> None:
        members = [member for member in members if member is not UNSET]
        members = members[: max(self._left, 0) + 1]
        copies: list[Any] = [None] * len(members)
        above = (*task.above, id(task.value))
        for index, member in reversed(list(enumerate(members))):  # the first is to be copied first
            tasks.append(_Task(member, partial(copies.__setitem__, index), task.depth + 1, above))
        task.put(copies)

    def _open_dict(self, members: dict[Any, Any], task: _Task, tasks: list[_Task]) -> None:
        copies: dict[str, Any] = {}
        same: dict[str, int] = {}
        above = (*task.above, id(task.value))
        fields = []
        for key, member in list(members.items())[: max(self._left, 0) + 1]:
            if member is UNSET:
                continue
            text = _free_key(self._key(key), copies, same)
            copies[text] = None
            fields.append(_Task(member, partial(copies.__setitem__, text), task.depth + 1, above))
        tasks.extend(reversed(fields))  # the first is to be copied first
        task.put(copies)

    def _key(self, key: Any) -> str:
        if isinstance(key, Enum):
            key = key.value
        found = self._plain_scalar(key)
        if isinstance(found, str):
            return found
        if found is None or isinstance(found, int | float):
            return _number_text(found)
        return self._text(_as_text(found) or self._mark("unrepresentable", key))

    def _scalar(self, value: Any, task: _Task, tasks: list[_Task]) -> Any:
        found = self._plain_scalar(value)
        if found is not _NOT_PLAIN:
            return found
        if isinstance(value, Enum):
            tasks.append(task._replace(value=value.value, depth=task.depth + 1))
            return None  # its value is put in this place next
        number = _as_number(value)
        return (
            self._mark("unrepresentable", value) if number is None else self._plain_scalar(number)
        )

    def _plain_scalar(self, value: Any) -> Any:
        """Return what stands for the value in a snapshot, or `_NOT_PLAIN`."""
        if value is None or value is True or value is False:
            return value
        if isinstance(value, Enum):
            return _NOT_PLAIN
        if isinstance(value, str):
            return self._text(
                str.__str__(value)
                if type(value) is not str and issubclass(type(value), str)
                else str(value)
            )
        if isinstance(value, int):
            return self._int(int.__int__(value))
        if isinstance(value, float):
            number = float.__float__(value)
            return number if math.isfinite(number) or not self._plain else None
        return self._other_scalar(value)

    def _other_scalar(self, value: Any) -> Any:
        if isinstance(value, datetime | date | uuid.UUID | bytes):
            native = _base_copy(value)
            return _as_text(native) if self._plain else native
        if isinstance(value, bytearray | memoryview):
            return base64.b64encode(bytes(value)).decode()
        if isinstance(value, Decimal | timedelta | time):
            return _as_text(value)
        return self._text(str(value)) if _quacks_like_text(type(value)) else _NOT_PLAIN

    def _text(self, text: str) -> str:
        return _valid(text) if self._clean else str.__str__(text)

    def _int(self, number: int) -> int | str:
        try:
            str(number)
        except (
            ValueError
        ):  # past the interpreter's limit for printing, so no store could write it either
            return self._mark(f"an integer of {number.bit_length()} bits:", number)
        return number


_NOT_PLAIN: Any = object()


def _members(value: Any) -> dict[Any, Any] | list[Any] | None:
    """List a container at once; None for what is no container."""
    if isinstance(value, dict):
        return dict(dict.items(value))
    for base in (list, tuple, set, frozenset):
        if isinstance(value, base):
            return list(base.__iter__(value))  # type: ignore[arg-type]  # a subclass may have made its own
    if isinstance(value, str | bytes | bytearray | memoryview | Enum | type):
        return None
    if isinstance(value, Mapping):
        return dict(_bounded(value.items()))
    if isinstance(value, AbstractSet) or type(value) is range:
        return list(_bounded(value))
    return field_values(value)


def _bounded(values: Iterable[Any]) -> list[Any]:
    """List at most so many values, because user code may yield without end."""
    listed = []
    for member in values:
        listed.append(member)
        if len(listed) > MAX_VALUES:
            break
    return listed


def field_values(value: Any) -> dict[str, Any] | None:
    """Return the fields of an instance of an attrs class, a dataclass or a msgspec Struct.

    Fields that are `msgspec.UNSET` are left out. None if it is no such instance.
    """
    kind = type(value)
    names: Any = getattr(kind, "__attrs_attrs__", None)
    if isinstance(names, tuple):
        names = [field.name for field in names]
    elif isinstance(value, msgspec.Struct):
        names = value.__struct_fields__
    else:
        if not isinstance(getattr(kind, "__dataclass_fields__", None), dict):
            return None
        import dataclasses  # loaded already, or there would be none of its classes

        names = [field.name for field in dataclasses.fields(kind)]  # without class variables
    found = {name: getattr(value, name, None) for name in names}
    return {name: member for name, member in found.items() if member is not UNSET}


def _base_copy(value: Any) -> Any:
    """Turn a subclass of a scalar type into its base."""
    if type(value) in (datetime, date, uuid.UUID, bytes):
        return value
    if isinstance(value, bytes):
        return bytes.__getitem__(value, slice(None))
    if isinstance(value, uuid.UUID):
        return uuid.UUID(int=value.int)
    if isinstance(value, datetime):
        offset = value.utcoffset()
        zone = None if offset is None else timezone(offset)
        parts = (
            value.year,
            value.month,
            value.day,
            value.hour,
            value.minute,
            value.second,
            value.microsecond,
        )
        return datetime(*parts, tzinfo=zone, fold=value.fold)
    return date(value.year, value.month, value.day)


def _as_text(value: Any) -> str | None:
    """The text that stands for a scalar of the standard library; None if it is none."""
    if isinstance(value, Decimal):
        return Decimal.__str__(value)
    if isinstance(value, timedelta):
        value = timedelta(value.days, value.seconds, value.microseconds)
    if isinstance(value, time):
        return time.isoformat(value)
    return (
        str(msgspec.to_builtins(value))
        if isinstance(value, datetime | date | timedelta | uuid.UUID | bytes)
        else None
    )


def _as_number(value: Any) -> int | float | None:
    """The number that an object such as numpy's stands for."""
    kind = type(value)
    if isinstance(value, type):
        return None
    if hasattr(kind, "__index__"):
        return int(value.__index__())
    return float(value) if hasattr(kind, "__float__") else None


def _number_text(number: float | None) -> str:
    return (
        "null"
        if number is None
        else str(number).lower()
        if isinstance(number, bool)
        else str(number)
    )


def _quacks_like_text(kind: type) -> bool:
    """Whether it is a lazy string: Django's gettext_lazy, UserString, a proxy of text."""
    return (
        not issubclass(kind, type)
        and callable(getattr(kind, "casefold", None))
        and hasattr(kind, "encode")
    )


def _free_key(text: str, taken: Mapping[str, Any], same: dict[str, int]) -> str:
    """Two keys that become the same text must not lose one of their values.

    Args:
        same: The last number that was given to each text; kept between the calls for one container.
    """
    free = text
    while free in taken:
        same[text] = same.get(text, 1) + 1
        free = f"{text}#{same[text]}"
    return free


def _type_name(value: Any) -> str:
    kind = type(value)
    return f"{kind.__module__}.{kind.__qualname__}"[:100]
