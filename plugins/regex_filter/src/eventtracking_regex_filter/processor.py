"""The processor that filters events by patterns on their names."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import ClassVar, Final, Literal

import attrs
import regex

from eventtracking import DropEvent, Event, OptionsError

__all__ = ["RegexFilter"]

_OWN_PREFIX: Final = "eventtracking."
"""Names of eventtracking's own events, such as the records of event types, pass an allowlist."""
_METHODS: Final = {"prefix": "match", "full": "fullmatch", "search": "search"}
_TIMEOUT_S: Final = 0.25
"""For one name and one pattern; sound patterns take microseconds. Beyond it, `TimeoutError`."""
_LITERAL: Final = re.compile(
    r"""(?<!\\)(?<!\\N)((?:\\\\)*)(\{)(?!\d+\}|\d*,\d*\})  # else the start of a fuzzy match
    |(\[)(?=:)                                             # else the start of a POSIX class
    """,
    re.VERBOSE,
)
"""Characters that `re` takes as they are, and `regex` does not."""


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
    _matchers: tuple[Callable[[str], object], ...] = attrs.field(init=False, repr=False)

    name_only: ClassVar[bool] = True
    """The name decides, so that core need not call this for each event."""

    def __attrs_post_init__(self) -> None:
        method = _METHODS[self.match]
        self._matchers = tuple(
            partial(getattr(pattern, method), timeout=_TIMEOUT_S)
            for pattern in _compile(self.regular_expressions)
        )

    def accepts(self, name: str) -> bool:
        """Tell whether events of this name pass.

        Raises:
            TimeoutError: If a pattern takes too long for this name.
        """
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


def _compile(expressions: Sequence[str]) -> list[regex.Pattern[str]]:
    """Compile all, or refuse all that are bad at once.

    `re` says which patterns are valid; `regex` matches, because it can be given a time limit.
    """
    patterns, problems = [], {}
    for index, expression in enumerate(expressions):
        try:
            re.compile(expression)
            patterns.append(regex.compile(_as_regex_writes_it(expression)))
        except (re.error, regex.error) as error:
            problems[f"regular_expressions[{index}]"] = f"no valid regular expression: {error}"
        except (RecursionError, OverflowError) as error:
            problems[f"regular_expressions[{index}]"] = (
                f"too large a regular expression ({type(error).__name__})"
            )
    if problems:
        raise OptionsError(problems)
    return patterns


def _as_regex_writes_it(expression: str) -> str:
    def escaped(found: re.Match[str]) -> str:
        return f"{found[1]}\\{{" if found[2] else "[\\"

    return _LITERAL.sub(escaped, expression)
