"""How outcomes change an event's standing, and the counts with it: the same in both stores.

`failed` is final. Once an event has failed as a whole, or in a group, a replay of one of its dead
letters changes neither: a mark in the standing (`!path`) says so until the replay has ended.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import attrs

from eventtracking import Outcome
from eventtracking.standing import Routes, Standing

__all__ = ["Change", "Transition", "has_failed", "never", "reopened", "whole"]

_FAILED, _PENDING = Outcome.FAILED, Outcome.PENDING
_MARK = "!"
_NEVER = "-"
"""Marks a leaf that the config got later, and that never has the event."""
_MARKS = (_MARK, _NEVER)
_MAX_SAME: Final = 1_000
"""Transitions that are remembered: few events of a buffer move differently."""

Change = tuple[str, Outcome | None, Outcome | None]
"""A path, and the outcomes before and after that count there."""


@attrs.frozen(eq=False)
class Transition:
    """How one event moved."""

    before: Standing | None
    """None: no lane had it."""
    after: Standing
    ended: Outcome | None
    """The outcome of the event as a whole, once no leaf waits for it."""

    @staticmethod
    def of(routes: Routes, before: Standing | None, news: Standing) -> Transition:
        """Add new outcomes to a standing. Events that move alike share one object."""
        return _of(routes, None if before is None else tuple(before.items()), tuple(news.items()))

    def changes(self, routes: Routes) -> tuple[Change, ...]:
        """Return what changes in the counts below the router.

        Args:
            routes: Those that are counted: some may have been lost by the config.
        """
        return changes_of(self, routes)


@lru_cache(maxsize=_MAX_SAME)
def _of(
    routes: Routes,
    before: tuple[tuple[str, Outcome], ...] | None,
    news: tuple[tuple[str, Outcome], ...],
) -> Transition:
    known = None if before is None else dict(before)
    after = {**(known or {}), **dict(news)}
    plain = _plain(after)
    missed = [path[1:] for path in after if path.startswith(_NEVER)]
    filled = {**dict.fromkeys(missed, Outcome.FILTERED), **plain}
    settled = routes.is_settled(filled) and _PENDING not in plain.values()  # of lost routes, too
    return Transition(known, after, whole(routes, after) if settled else None)


@lru_cache(maxsize=_MAX_SAME)
def changes_of(found: Transition, routes: Routes) -> tuple[Change, ...]:
    """See `Transition.changes`."""
    before = None if found.before is None else _plain(found.before)
    changes = []
    for path, old, new in routes.moves(before, _plain(found.after), found.ended is not None):
        mark = _MARK + path
        was = _FAILED if found.before is not None and mark in found.before else old
        now = _FAILED if mark in found.after else new
        if was is not now:
            changes.append((path, was, now))
    return tuple(changes)


def reopened(
    routes: Routes, standing: Standing, leaf: str, outcome: Outcome, finished: bool
) -> Transition:
    """Move a dead letter's leaf to pending (a replay) or to failed (a purge).

    Args:
        finished: Whether the event is final everywhere. Leaves that it never came to, because the
            config got them later, stay out of it then.
    """
    before: dict[str, Outcome] = {**standing, leaf: Outcome.DEAD_LETTERED}
    if finished:
        missed = [path for path in routes.leaves if routes.waits_at(path, before)]
        before = {**dict.fromkeys(missed, Outcome.FILTERED), **before}
    after = {**before, leaf: outcome}
    if outcome is _PENDING:
        plain = _plain(before)
        failed = [group for group in routes.groups if routes.at(group, plain, finished) is _FAILED]
        if finished and whole(routes, before) is _FAILED:
            failed.append(routes.path)
        after.update(dict.fromkeys([_MARK + path for path in failed], _FAILED))
    settled = finished and outcome is not _PENDING
    return Transition(before, after, whole(routes, after) if settled else None)


def never(leaf: str) -> dict[str, Outcome]:
    """Return the news that a leaf never has an event."""
    return {_NEVER + leaf: Outcome.FILTERED}


def has_failed(routes: Routes, standing: Standing) -> bool:
    """Whether an event counts as failed for good, although a replay of it is on its way."""
    return _MARK + routes.path in standing


def whole(routes: Routes, standing: Standing) -> Outcome:
    """Return the worst outcome of a finished event; that of a lost route counts, too."""
    if has_failed(routes, standing):
        return _FAILED
    plain = _plain(standing)
    return max(plain.values(), default=Outcome.FILTERED)


def _plain(standing: Standing) -> Standing:
    """Leave out the marks; few standings have any."""
    if not any(path.startswith(_MARKS) for path in standing):
        return standing
    return {path: outcome for path, outcome in standing.items() if not path.startswith(_MARKS)}
