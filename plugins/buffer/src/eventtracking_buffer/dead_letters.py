"""Dead letters: what a leaf refused for good, or failed to take too often, kept to be looked at and
replayed.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from datetime import datetime, timezone
from typing import Literal

import attrs

from eventtracking import Event

__all__ = ["Action", "DeadLetter", "Selection", "Wanted"]

Wanted = Literal["replay", "purge"]
"""Ends of dead letters that people ask for."""


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, timezone.utc)


@attrs.frozen(kw_only=True)
class DeadLetter:
    """One event that did not arrive at one leaf."""

    number: int
    """Its name within the buffer."""
    route: str
    """The path of the leaf."""
    event: Event = attrs.field(repr=False)
    reason: str
    """Why, in words that hold nothing of the event's."""
    attempts: int
    """How often its delivery was tried."""
    first_at: float
    """When it failed for the first time, in seconds since 1970."""
    last_at: float
    replaying: bool = False
    """Whether it is being delivered again just now."""

    @property
    def first_failed(self) -> datetime:
        """When it failed for the first time."""
        return _moment(self.first_at)

    @property
    def last_failed(self) -> datetime:
        """When it failed for the last time."""
        return _moment(self.last_at)


@attrs.frozen(kw_only=True)
class Selection:
    """Which dead letters are meant. What is None does not matter."""

    route: str | None = None
    """The path of a leaf, or of a group or router above it."""
    name: str | None = None
    """The event's name, or a prefix that ends in `*`."""
    reason: str | None = None
    """A part of the reason."""
    older_than_s: float | None = None
    """How long ago it failed for the last time, at least."""
    newer_than_s: float | None = None
    """How long ago it failed for the last time, at most."""
    numbers: frozenset[int] | None = None
    event_id: str | None = None
    context: Mapping[str, str] | None = None
    """Keys of the event's context, and their values as text."""

    def matches(self, letter: DeadLetter) -> bool:
        """Whether a dead letter is meant."""
        age_s = time.time() - letter.last_at
        return (
            (self.route is None or f"{letter.route}/".startswith(f"{self.route}/"))
            and (self.name is None or _matches_name(self.name, letter.event.name))
            and (self.reason is None or self.reason in letter.reason)
            and (self.older_than_s is None or age_s >= self.older_than_s)
            and (self.newer_than_s is None or age_s <= self.newer_than_s)
            and (self.numbers is None or letter.number in self.numbers)
            and (self.event_id is None or letter.event.id == self.event_id)
            and _has(letter.event.context, self.context or {})
        )


@attrs.frozen(kw_only=True)
class Action:
    """A replay or purge of frozen dead letters: who asked for it, and how it went so far."""

    what: str
    """"replay" or "purge"."""
    by: str
    """Who asked for it, as the tool calls them."""
    at: float
    """When, in seconds since 1970."""
    count: int
    """How many letters it took."""
    skipped: tuple[int, ...] = ()
    """The numbers of letters that another action had, or that were there no more."""
    waiting: tuple[int, ...] = ()
    """Of those that are not served yet."""
    failed: tuple[int, ...] = ()
    """Of those that are dead letters again."""

    @classmethod
    def of(
        cls,
        *,
        what: str,
        by: str,
        at: float,
        numbers: Collection[int],
        taken: Collection[int],
        replaying: Mapping[int, bool],
    ) -> Action:
        """Tell how an action stands.

        Args:
            numbers: The letters that were frozen.
            taken: Those that it took.
            replaying: The letters of now, and whether each is being replayed.
        """
        return cls(
            what=what,
            by=by,
            at=at,
            count=len(taken),
            skipped=tuple(sorted(set(numbers) - set(taken))),
            waiting=tuple(n for n in sorted(taken) if replaying.get(n)),
            failed=tuple(n for n in sorted(taken) if replaying.get(n) is False),
        )


def _has(context: Mapping[str, object], wanted: Mapping[str, str]) -> bool:
    return all(key in context and str(context[key]) == value for key, value in wanted.items())


def _matches_name(pattern: str, name: str) -> bool:
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern
