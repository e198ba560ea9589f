"""An event name as a processor knows it: its declaration, compiled when it is first seen."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any, Final, Protocol

from eventtracking_catalog.declaration import Declaration
from eventtracking_catalog.fast import Inexpressible, compiled
from eventtracking_catalog.registry import OWN_PREFIX
from eventtracking_catalog.types import Field

__all__ = ["LONG_AGO", "Known"]

LONG_AGO: Final = datetime.min.replace(tzinfo=timezone.utc)
"""Before every event."""

_LISTED_PER_S: Final = 100
"""Events of one type whose problems are all listed, each second."""


class Policies(Protocol):
    """The part of the processor that compiling depends on."""

    records: bool
    max_event_bytes: int | None
    _relaxed: frozenset[str]


class Known:
    """One name: the fast check of its data, its stamp, and the time of its next record."""

    __slots__ = (
        "_checks",
        "_listed",
        "_second",
        "check",
        "declaration",
        "fast",
        "fields",
        "is_own",
        "record_due",
        "schema",
        "stamp",
        "told",
        "told_every",
        "unknown_text",
        "unseen",
    )

    def __init__(self, name: str, declaration: Declaration | None) -> None:
        self.declaration = declaration
        self.is_own = name.startswith(OWN_PREFIX)
        self.schema = "" if declaration is None else declaration.schema
        self.stamp = {"schema": self.schema}
        """The extra keys of an event that had none; shared between events, as contexts are."""
        self.fields: Sequence[Field] = () if declaration is None else declaration.fields
        self.check: Any = None
        """The fast check; None where the slow path alone can check."""
        self.fast: Any = None
        """The same, where nothing else is to be looked at."""
        self.unknown_text: str | None = None
        """The text to count, where nothing but that is to be done."""
        self.unseen = 0
        """Events of an unknown type that are not told of yet."""
        self.told = 0
        self.told_every = 1
        self.record_due = LONG_AGO
        self._checks: dict[frozenset[str], Any] = {}
        self._second = 0
        self._listed = 0

    @classmethod
    def of(cls, name: str, declaration: Declaration | None, policies: Policies) -> Known:
        """Compile the check that these policies need."""
        known = cls(name, declaration)
        if declaration is not None:
            known.check = Any if declaration.is_open else known.check_for(policies._relaxed)
            known.fast = known.check if policies.max_event_bytes is None else None
        return known

    def check_for(self, relaxed: frozenset[str]) -> Any:
        """Compile the check that lets some kinds of problems pass; None where there is none."""
        if relaxed not in self._checks:
            try:
                self._checks[relaxed] = compiled(self.fields, relaxed)
            except Inexpressible:
                self._checks[relaxed] = None
        return self._checks[relaxed]

    def may_list(self, now: float) -> bool:
        """Tell whether all problems of one event more may be listed in this second."""
        if int(now) != self._second:
            self._second, self._listed = int(now), 0
        self._listed += 1
        return self._listed <= _LISTED_PER_S
