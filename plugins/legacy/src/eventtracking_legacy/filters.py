"""The predecessor's filters, for site code that subclasses or calls them; they work on dicts."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Any

from eventtracking_legacy.exceptions import EventEmissionExit, ImproperlyConfigured
from eventtracking_legacy.shown import Shown

__all__ = ["NameWhitelistProcessor", "RegexFilter"]


class _Filter(Shown):
    """A filter by names. Of a list of events, it returns those that pass."""

    def accepts(self, name: Any) -> bool:
        """Tell whether events of this name pass."""
        raise NotImplementedError

    def __call__(self, event: Any) -> Any:
        """Return the event, or those of a list that pass.

        Raises:
            EventEmissionExit: If the name of a single event is not accepted.
        """
        if isinstance(event, list):
            return [one for one in event if self.accepts(one["name"])]
        if not self.accepts(event["name"]):
            raise EventEmissionExit("the name is not accepted")
        return event


class RegexFilter(_Filter):
    """Keep or drop events by patterns at the start of their names."""

    filter_type: str = "allowlist"
    regular_expressions: frozenset[str] = frozenset()
    compiled_expressions: Sequence[re.Pattern[str]] = ()

    def __init__(
        self, filter_type: str = "allowlist", regular_expressions: Collection[str] | None = None
    ) -> None:
        if filter_type not in ("allowlist", "blocklist"):
            raise ImproperlyConfigured(
                f"filter_type: expected allowlist or blocklist; found {filter_type!r}"
            )
        self.filter_type = filter_type
        self.regular_expressions = frozenset(regular_expressions or ())
        self.compiled_expressions = _compile(self.regular_expressions)

    @classmethod
    def of_plugin(cls, plugin_filter: Any) -> RegexFilter:
        """Return the object for a plugin's filter that stands in a tracker's tree."""
        found = cls(plugin_filter.filter_type, plugin_filter.regular_expressions)
        found._is_shown = True
        return found

    def accepts(self, name: Any) -> bool:
        """Tell whether events of this name pass."""
        matches = any(pattern.match(name) for pattern in self.compiled_expressions)
        return matches is (self.filter_type == "allowlist")


def _compile(expressions: Collection[str]) -> list[re.Pattern[str]]:
    compiled, problems = [], []
    for expression in expressions:
        try:
            compiled.append(re.compile(expression))
        except re.error as error:
            problems.append(f"{expression!r} ({error})")
    if problems:
        raise ImproperlyConfigured(
            f"regular_expressions: no valid regular expressions: {', '.join(problems)}"
        )
    return compiled


class NameWhitelistProcessor(_Filter):
    """Keep the events whose names are listed."""

    whitelist: frozenset[Any] = frozenset()

    def __init__(self, whitelist: Any = None, **_ignored: Any) -> None:
        if isinstance(whitelist, str | bytes):
            whitelist = None
        try:
            self.whitelist = frozenset(whitelist)
        except TypeError:
            raise TypeError("whitelist: expected a collection of names") from None

    @classmethod
    def of_plugin(cls, plugin_filter: Any) -> NameWhitelistProcessor:
        """Return the object for a plugin's filter that stands in a tracker's tree."""
        found = cls(plugin_filter.names)
        found._is_shown = True
        return found

    def accepts(self, name: Any) -> bool:
        """Tell whether events of this name pass."""
        return name in self.whitelist
