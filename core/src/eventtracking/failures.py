"""The answer of a delivery from a router: `eventtracking.protocols` says who fills and reads it."""

from __future__ import annotations

from eventtracking.counts import Outcome

__all__ = ["Failures"]


class Failures(dict[str, dict[str, Exception]]):
    """The answer of a delivery: `{leaf path: {event id: error}}`, and the outcome of every event.

    A `Rejected` is final, any other error may be tried again. It is filled as the delivery goes, so
    it is right also when a `BaseException` passes through.
    """

    def __init__(self) -> None:
        super().__init__()
        self.outcomes: dict[str, dict[str, Outcome]] = {}
        """`{path: {event id: outcome}}`, of every event at every leaf and group that the delivery
        went to. An event that failed is pending there."""
        self.ended: dict[str, dict[str, Outcome]] = {}
        """Of groups: the events that the group's own processors ended, so that no leaf below
        received them."""
        self.reasons: dict[str, dict[str, int]] = {}
        """`{path: {text: count}}`: why processors below ended events. Add them to your counts."""
        self.pauses: dict[str, float] = {}
        """`{leaf path: seconds}`: the pauses that destinations asked for, from 0 to 3,600 s.
        Leaves that it names before a delivery are not tried: they fail with that pause."""
        self.groups: set[str] = set()
        """The paths in `outcomes` that have leaves below them."""

    def standing(self, event_id: str) -> dict[str, Outcome]:
        """Return this delivery's part of an event's standing; see `eventtracking.standing`."""
        found = {path: ids[event_id] for path, ids in self.ended.items() if event_id in ids}
        for path, outcomes in self.outcomes.items():
            if event_id in outcomes and path not in self.groups:
                found[path] = outcomes[event_id]
        return found

    def forget_error(self, leaf: str, event_id: str) -> None:
        """Remove an error that is no longer true."""
        errors = self.get(leaf)
        if errors is not None and errors.pop(event_id, None) is not None and not errors:
            del self[leaf]

    def merge(self, later: Failures) -> None:
        """Take over the answer of a later delivery of some of the same events."""
        self.groups |= later.groups
        for path, outcomes in later.outcomes.items():
            self.outcomes.setdefault(path, {}).update(outcomes)
            for event_id in self.get(path, {}).keys() & outcomes.keys():
                self.forget_error(path, event_id)
        for path, ended in later.ended.items():
            self.ended.setdefault(path, {}).update(ended)
        for path, errors in later.items():
            self.setdefault(path, {}).update(errors)
        for path, texts in later.reasons.items():
            mine = self.reasons.setdefault(path, {})
            for text, count in texts.items():
                mine[text] = mine.get(text, 0) + count
        self.pauses.update(later.pauses)
