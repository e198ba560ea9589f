"""The slow path of the snapshot: a walk over values of any type, iterative and bounded.

It lists a container before it calls any code of the caller's. Shallow values come first, and among
them scalars before containers, so that a cut never costs an event its own fields.
(`msgspec.to_builtins` reads dataclasses and subclasses of sets through code of the caller's, and
crashes the interpreter when that changes a list.)
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from msgspec import UNSET

from eventtracking._data.copy import MAX_DEPTH, MAX_VALUES, NATIVE, is_native
from eventtracking._data.plain import as_text, form_of
from eventtracking._data.snapshot import Values, valid_text

__all__ = ["mend"]

_MAX_STAND_INS: Final = 16
"""Values that stand for a value that stands for a value, and so on."""
_CONTAINERS: Final = frozenset({dict, list, tuple, set, frozenset})
_MAX_VALUES_OUT: Final = 2 * MAX_VALUES
"""On the way out of an event: no captured event reaches it."""


class _Container(NamedTuple):
    """A container still to be filled; its members are listed and within the budget."""

    keys: list[Any] | None
    """None for a list."""
    members: list[Any]
    copy: Any
    depth: int
    above: tuple[Any, ...]


def mend(
    value: Any, values: Values, clean: bool = False, plain: bool = False
) -> tuple[Any, tuple[str, ...]]:
    """Copy a value deeply into plain types; return the copy and the mends.

    Args:
        values: The plain forms that plugins have registered.
        clean: Turn text into valid Unicode.
        plain: Turn all values that JSON has no word for into text, NaN and infinities into None.
    """
    walk = _Walk(values, clean, plain)
    return walk.copy(value), tuple(walk.problems)


class _Walk:
    """One walk over one value."""

    def __init__(self, values: Values, clean: bool, plain: bool) -> None:
        self._values = values
        self._clean = clean
        self._plain = plain
        self._left = _MAX_VALUES_OUT if clean else MAX_VALUES
        self._forms: dict[type, Callable[[Any], Any] | None] = {}
        self._open: deque[_Container] = deque()
        self.problems: dict[str, None] = {}

    def copy(self, value: Any) -> Any:
        found = [None]
        self._place(value, found, 0, 0, ())
        while self._open:
            self._fill(self._open.popleft())
        return found[0]

    def _fill(self, container: _Container) -> None:
        keys, members, copy, depth, above = container
        if keys is None:
            copy.extend(members)
            for place, member in enumerate(members):
                if type(member) not in NATIVE or self._clean:
                    self._place(member, copy, place, depth, above)
            return
        same: dict[str, int] = {}
        for key, member in zip(keys, members, strict=True):
            text = key if type(key) is str and not self._clean else self._key(key)
            text = _free_key(text, copy, same)
            copy[text] = None  # in its place, even if the value fails
            self._place(member, copy, text, depth, above)

    def _place(self, value: Any, copy: Any, place: Any, depth: int, above: tuple[Any, ...]) -> None:
        """Put the copy of a value in its place; a container is filled later."""
        try:
            found = self._resolve(value)
        except Exception:  # noqa: BLE001 - the caller's own code, in a property or a __str__
            found = self._mark("unrepresentable", value)
        if type(found) is not dict and type(found) is not list:
            copy[place] = found
        elif any(value is one for one in above):
            copy[place] = self._mark("cycle:", value)
        elif depth >= MAX_DEPTH:
            copy[place] = self._mark("too deep:", value)
        elif not found:
            copy[place] = type(found)()
        elif self._left <= 0:
            copy[place] = self._mark("too many values:", value)
        else:
            copy[place] = inner = type(found)()
            keys, members = self._list(found)
            self._open.append(_Container(keys, members, inner, depth + 1, (*above, value)))

    def _list(self, found: Any) -> tuple[list[Any] | None, list[Any]]:
        """List as many members as the budget has room for, and a mark for those left out."""
        members: list[Any]
        if type(found) is list:
            members = [member for member in found[: self._left + 1] if member is not UNSET]
            keys = None
        else:
            pairs = [pair for pair in list(found.items()) if pair[1] is not UNSET]
            if len(pairs) > self._left:
                pairs = _scalars_first(pairs, self._left)
            keys, members = [key for key, _ in pairs], [member for _, member in pairs]
        if len(members) > self._left:
            members[-1] = self._mark("too many values:", members[-1])
        self._left -= len(members)
        return keys, members

    def _resolve(self, value: Any) -> Any:
        """Return a scalar as a snapshot holds it, or a list or dict of a container's members."""
        for _ in range(_MAX_STAND_INS):
            kind = type(value)
            if kind is str:
                return valid_text(value) if self._clean else value
            if kind is dict or kind is list:
                return value
            if is_native(value):
                return self._native(value)
            if kind is int:
                size = f"an integer of {value.bit_length()} bits:"
                return self._mark(size, value, counted_as="an integer of too many bits:")
            if kind not in self._forms:
                self._forms[kind] = form_of(kind, self._values)
            form = self._forms[kind]
            if form is None:
                break
            value = form(value)
        return self._mark("unrepresentable", value)

    def _native(self, value: Any) -> Any:
        if not self._plain or value is None:
            return value
        if type(value) is float:
            return value if math.isfinite(value) else None
        return value if isinstance(value, int) else as_text(value)

    def _key(self, key: Any) -> str:
        try:
            found = self._resolve(key)
        except Exception:  # noqa: BLE001 - as in `_place`
            found = self._mark("unrepresentable", key)
        if type(found) is dict or type(found) is list:
            found = self._mark("unrepresentable", key)
        return found if type(found) is str else _key_text(found)

    def _mark(self, problem: str, value: Any, counted_as: str = "") -> str:
        """Return the text that stands for a value, and note it.

        Args:
            counted_as: The problem without the parts that the data chooses, which would fill the
                places for reasons.
        """
        name = _type_name(value)
        self.problems[f"<{counted_as or problem} {name}>"] = None
        return f"<{problem} {name}>"


def _scalars_first(pairs: list[tuple[Any, Any]], count: int) -> list[tuple[Any, Any]]:
    """Return as many pairs, in their order, and one more, which is left out.

    Native scalars stay before other values, and those before containers.
    """
    picked: list[int] = []
    for rank in range(3):
        for place, (_, value) in enumerate(pairs):
            if len(picked) > count:
                break
            if _rank(type(value)) == rank:
                picked.append(place)
    return [pairs[place] for place in [*sorted(picked[:-1]), picked[-1]]]


def _rank(kind: type) -> int:
    return 0 if kind in NATIVE or kind is int else 2 if kind in _CONTAINERS else 1


def _key_text(found: Any) -> str:
    if found is None:
        return "null"
    return str(found).lower() if isinstance(found, bool) else as_text(found)


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
    try:
        return f"{kind.__module__}.{kind.__qualname__}"[:100]
    except Exception:  # noqa: BLE001 - a metaclass may raise any exception
        return "of an unknown type"
