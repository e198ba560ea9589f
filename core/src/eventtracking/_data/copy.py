"""The fast path of the snapshot: a deep copy of plain data, and a refusal of anything else.

It knows the exact builtin types and nothing else, so that no code of the caller's runs in it, and
each container is copied in one step before its members are looked at, so that other threads may
change it meanwhile. Compiled from C where the installation could; the same in Python otherwise, or
where `EVENTTRACKING_PURE_PYTHON` is set to anything but nothing.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from datetime import date, datetime
from typing import Any, Final

__all__ = ["IS_COMPILED", "MAX_CONTAINERS", "MAX_DEPTH", "copy_in_python", "fast_copy"]

MAX_DEPTH: Final = 200
"""Containers inside containers.

Past MongoDB's own 100, far below what exhausts the stack of an encoder.
"""
MAX_CONTAINERS: Final = 100_000
"""Containers below the second level, each counted as often as it is held, so that a few lists that
hold each other many times
over cannot keep the caller for hours."""

_NATIVE: Final = frozenset({str, int, float, bool, type(None), bytes, datetime, date, uuid.UUID})
"""The exact types of scalars that a snapshot holds as they are."""


def copy_in_python(value: Any, left: list[int] | None = None, depth: int = 1) -> Any:  # noqa: C901 - a call more for each container would cost much of it
    """Copy dicts with text keys, lists (also from tuples) and native scalars.

    Args:
        left: How many containers there may yet be below the second level. None for the outermost
            container.
        depth: The number of this container, if it is one, counted from the outermost.

    Raises:
        TypeError: If there is anything else in it, or too much.
        RecursionError: If it is too deep, or has a cycle.
    """
    kind = type(value)
    if kind is dict:
        below = left
        fields: dict[str, Any] = value.copy()
        for key, member in fields.items():
            if type(key) is not str:
                raise TypeError
            kind = type(member)
            if kind in _NATIVE:
                continue
            if below is None:
                below = [MAX_CONTAINERS]
            elif left is not None:
                _spend(left, depth)
            # A small container without others inside is copied here: a call would cost more than
            # that.
            if kind is dict:
                fields[key] = inner = member.copy()
                for name, scalar in inner.items():
                    if type(name) is not str or type(scalar) not in _NATIVE:
                        fields[key] = copy_in_python(member, below, depth + 1)
                        break
            elif kind is list:
                fields[key] = members = member.copy()
                for scalar in members:
                    if type(scalar) not in _NATIVE:
                        fields[key] = copy_in_python(member, below, depth + 1)
                        break
            else:
                fields[key] = copy_in_python(member, below, depth + 1)
        return fields
    if kind is list or kind is tuple:
        members = list(value)
        if not _NATIVE.issuperset(map(type, members)):
            below = left or [MAX_CONTAINERS]
            for index, member in enumerate(members):
                if type(member) not in _NATIVE:
                    if left is not None:
                        _spend(left, depth)
                    members[index] = copy_in_python(member, below, depth + 1)
        return members
    if kind in _NATIVE:
        return value
    raise TypeError


def _spend(left: list[int], depth: int) -> None:
    """Enter one container more, below the one of that depth."""
    if depth >= MAX_DEPTH:
        raise RecursionError
    left[0] -= 1
    if left[0] < 0:
        raise TypeError


fast_copy: Callable[[Any], Any] = copy_in_python
IS_COMPILED = False
if not os.environ.get("EVENTTRACKING_PURE_PYTHON"):
    try:
        from eventtracking._data._compiled import fast_copy
    except ImportError:  # no compiler was there
        pass
    else:
        IS_COMPILED = True
