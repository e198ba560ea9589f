"""The processor that filters events by patterns on their names."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import ClassVar, Final, Literal

import attrs

from eventtracking import DropEvent, Event, OptionsError

__all__ = ["RegexFilter"]

_OWN_PREFIX: Final = "eventtracking."
"""Names of eventtracking's own events, such as the records of event types, pass an allowlist."""
_METHODS: Final = {"prefix": "match", "full": "fullmatch", "search": "search"}


@attrs.define(eq=False)
class RegexFilter:
    r"""Keep (allowlist) or drop (blocklist) the events whose name matches one of the patterns.

    With `match = "prefix"` a pattern must match at the start of the name and may end anywhere:
    `edx.course` also matches `edxXcourse.more`. Write `edx\.course\.` for the dots, or use `full`.
    """

    filter_type: Literal["allowlist", "blocklist"] = attrs.field(
        metadata={
            "help": "allowlist: only matching events pass. blocklist: matching events are dropped."
        }
    )
    regular_expressions: list[str] = attrs.field(
        metadata={
            "help": (
                "Patterns of Python's re; one that matches is enough. None: an allowlist drops all,"
                " a blocklist nothing."
            )
        }
    )
    match: Literal["prefix", "full", "search"] = attrs.field(
        default="prefix",
        metadata={
            "help": (
                "Where a pattern must match: prefix (from the start of the name), full (all of it),"
                " search (anywhere)."
            )
        },
    )
    _matchers: tuple[Callable[[str], re.Match[str] | None], ...] = attrs.field(
        init=False, repr=False
    )

    name_only: ClassVar[bool] = True
    """The name decides, so that core need not call this for each event."""

    def __attrs_post_init__(self) -> None:
        method = _METHODS[self.match]
        self._matchers = tuple(
            getattr(pattern, method) for pattern in _compile(self.regular_expressions)
        )

    def accepts(self, name: str) -> bool:
        """Tell whether events of this name pass."""
        is_allowlist = self.filter_type == "allowlist"
        if is_allowlist and name.startswith(_OWN_PREFIX):
            return True
        matches = any(matcher(name) for matcher in self._matchers)
        return matches is is_allowlist

    def __call__(self, event: Event) -> Event:
        """Return the event.

        Raises:
            DropEvent: If its name is not accepted.
        """
        if not self.accepts(event.name):
            raise DropEvent("the name is not accepted")
        return event


def _compile(expressions: Sequence[str]) -> list[re.Pattern[str]]:
    """Compile all, or refuse all that are bad at once."""
    patterns, problems = [], {}
    for index, expression in enumerate(expressions):
        try:
            patterns.append(re.compile(expression))
        except re.error as error:
            problems[f"regular_expressions[{index}]"] = f"no valid regular expression: {error}"
        except (RecursionError, OverflowError) as error:
            problems[f"regular_expressions[{index}]"] = (
                f"too large a regular expression ({type(error).__name__})"
            )
    if problems:
        raise OptionsError(problems)
    return patterns
