"""The processor that filters by exact names."""

from __future__ import annotations

from typing import ClassVar, Final, Literal

import attrs

from eventtracking import DropEvent, Event

__all__ = ["NameFilter"]

_OWN_PREFIX: Final = "eventtracking."
"""Names of eventtracking's own events, such as the records of event types, pass an allowlist."""


@attrs.define(eq=False)
class NameFilter:
    """Keep (allowlist) or drop (blocklist) the events whose name is in a list.

    The whole name counts, and upper and lower case differ. For patterns, there is `regex_filter`.
    """

    names: list[str] = attrs.field(
        metadata={
            "help": "The names. None of them: an allowlist drops everything, a blocklist nothing."
        }
    )
    filter_type: Literal["allowlist", "blocklist"] = attrs.field(
        default="allowlist",
        metadata={
            "help": "allowlist: only events with these names pass. blocklist: they are dropped."
        },
    )
    _names: frozenset[str] = attrs.field(init=False, repr=False)
    _keeps: bool = attrs.field(init=False, repr=False)

    name_only: ClassVar[bool] = True
    """The name decides, so that core need not call this for each event."""

    def __attrs_post_init__(self) -> None:
        self._names = frozenset(self.names)
        self._keeps = self.filter_type == "allowlist"

    def accepts(self, name: str) -> bool:
        """Tell whether events of this name pass."""
        if self._keeps and name.startswith(_OWN_PREFIX):
            return True
        return (name in self._names) is self._keeps

    def __call__(self, event: Event) -> Event:
        """Return the event.

        Raises:
            DropEvent: If its name is not accepted.
        """
        if not self.accepts(event.name):
            raise DropEvent("the name is not accepted")
        return event
