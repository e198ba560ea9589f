"""A node of a config: a value, the text that it was written as, and its place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from eventtracking.config.words import is_at, join, show

__all__ = ["Node", "place_of"]


class Node(msgspec.Struct, frozen=True, eq=False):
    """One value of a config."""

    value: Any
    """With `${VAR}` substituted."""
    original: Any
    """As it was written, for messages: a variable may hold a secret."""
    path: str
    """Its place: `backends.warehouse.processors[0]`."""

    @property
    def shown(self) -> str:
        """The original, as a message may quote it."""
        return show(self.original)

    @property
    def is_substituted(self) -> bool:
        """Whether a part of it came from a `${VAR}`."""
        return self.value is not self.original and bool(self.value != self.original)

    def child(self, key: str, default: Any) -> Node:
        """Return the value at a key of a table."""
        path = join(self.path, key)
        if key not in self.value:
            return Node(default, default, path)
        return Node(self.value[key], self.original[key], path)

    def children(self) -> Iterator[tuple[Any, Node]]:
        """Yield each key of a table and its value."""
        for key in self.value:
            yield key, Node(self.value[key], self.original[key], join(self.path, key))

    def members(self) -> Iterator[Node]:
        """Yield the members of a list."""
        for index, value in enumerate(self.value):
            yield Node(value, self.original[index], f"{self.path}[{index}]")

    def places(self) -> Iterator[str]:
        """Yield the place of each route below, sound or not."""
        routes = self.child("backends", None) if isinstance(self.value, Mapping) else self
        for _, child in routes.children() if isinstance(routes.value, Mapping) else ():
            yield child.path
            yield from child.places()


def place_of(path: str, places: Iterable[str]) -> str:
    """Return the place of the route that a problem is of; its name may hold dots."""
    return max((place for place in places if is_at(path, place)), key=len, default="")
