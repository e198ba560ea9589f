"""The fast path of the snapshot: a deep copy of plain data, and a refusal of all other values.

It knows the exact builtin types and nothing else, so that no code of the caller's runs in it, and
each container is copied in one step before its members are looked at, so that other threads may
change it meanwhile. Compiled from C where the installation could; the same in Python otherwise, or
where `EVENTTRACKING_PURE_PYTHON` is set and not empty.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from datetime import date, datetime, timezone
from typing import Any, Final

__all__ = [
    "IS_COMPILED",
    "MAX_DEPTH",
    "MAX_INT_BITS",
    "MAX_VALUES",
    "NATIVE",
    "copy_in_python",
    "fast_copy",
    "genuine_date",
    "genuine_datetime",
    "is_native",
]

MAX_DEPTH: Final = 200
"""Containers inside containers.

Past MongoDB's own 100, far below the depth that exhausts the stack of an encoder.
"""
MAX_VALUES: Final = 100_000
"""Values in one part of an event, each counted as often as it is held.

A few lists that hold each other many times over cannot keep the caller for hours.
"""
MAX_INT_BITS: Final = 14_000
"""Below the 4,300 digits past which Python refuses to write an integer."""

_UTC: Final = timezone.utc


def _genuine(kind: type, name: str) -> type[Any]:
    """Return the standard library's class among the bases of one that may stand for it."""
    return next(base for base in reversed(kind.__mro__) if base.__name__ == name)


# In containers: a library that freezes time replaces the names in all modules by classes of its
# own, and this module may be imported while it does.
_DATETIMES: Final = (_genuine(datetime, "datetime"),)
_DATES: Final = (_genuine(date, "date"),)
_INTS: Final = (-(1 << MAX_INT_BITS), 1 << MAX_INT_BITS)

NATIVE: Final = frozenset({str, float, bool, type(None), bytes, _DATES[0], uuid.UUID})
"""The exact types of scalars that a snapshot always holds as they are."""


def genuine_datetime() -> type[datetime]:
    """Return the standard library's `datetime`, also while time is frozen."""
    return _DATETIMES[0]


def genuine_date() -> type[date]:
    """Return the standard library's `date`, also while time is frozen."""
    return _DATES[0]


def is_native(value: Any) -> bool:
    """Tell whether a snapshot holds a scalar as it is: a datetime in UTC, an integer of no
    outrageous size, or another builtin.
    """
    kind = type(value)
    if kind in NATIVE:
        return True
    if kind is int:
        return bool(_INTS[0] < value < _INTS[1])
    return kind in _DATETIMES and bool(value.tzinfo is _UTC)


def copy_in_python(value: Any) -> Any:
    """Copy dicts with text keys, lists (also from tuples) and native scalars.

    Raises:
        TypeError: If it holds a value of another type, or too many values.
        RecursionError: If it is too deep, or has a cycle.
    """
    return value if is_native(value) else _copy_container(value, [MAX_VALUES], 0)


def _copy_container(value: Any, left: list[int], depth: int) -> Any:
    if depth >= MAX_DEPTH:
        raise RecursionError
    kind = type(value)
    if kind is not dict and kind is not list and kind is not tuple:
        raise TypeError
    left[0] -= len(value)
    if left[0] < 0:
        raise TypeError
    copied: Any = value.copy() if kind is dict else list(value)
    for key, member in copied.items() if kind is dict else enumerate(copied):
        if kind is dict and type(key) is not str:
            raise TypeError
        if type(member) not in NATIVE and not is_native(member):
            copied[key] = _copy_container(member, left, depth + 1)
    return copied


fast_copy: Callable[[Any], Any] = copy_in_python
IS_COMPILED = False
if not os.environ.get("EVENTTRACKING_PURE_PYTHON"):
    try:
        from eventtracking._data._compiled import fast_copy
    except ImportError:  # no compiler was there
        pass
    else:
        IS_COMPILED = True
