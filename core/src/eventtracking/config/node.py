"""A node of a config: a value, the text that it was written as, and its place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from eventtracking.config.words import join, show

__all__ = ["Node"]


class Node(NamedTuple):
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

    def child(self, key: str, default: Any) -> Node:
        """Return what stands at a key of a table."""
        path = join(self.path, key)
        if key not in self.value:
            return Node(default, default, path)
        return Node(self.value[key], self.original[key], path)

    def children(self) -> Iterator[tuple[Any, Node]]:
        """Yield each key of a table and what stands there."""
        for key in self.value:
            yield key, Node(self.value[key], self.original[key], join(self.path, key))

    def members(self) -> Iterator[Node]:
        """Yield the members of a list."""
        for index, value in enumerate(self.value):
            yield Node(value, self.original[index], f"{self.path}[{index}]")
