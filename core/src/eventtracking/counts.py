"""The books: the outcomes of a route's events.

Every event that a route receives is entered once, as pending, and moved once, to its outcome. A
move is one addition to one integer, so that at any moment, seen from any thread, the law holds::

    received = delivered + filtered + failed + dead_lettered + pending
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

import attrs

__all__ = ["Counts", "Ledger", "Outcome", "change_of", "reason_text"]


class Outcome(enum.IntEnum):
    """The outcome of an event, from best to worst: a group counts an event by its worst child."""

    FILTERED = 0
    DELIVERED = 1
    DEAD_LETTERED = 2
    FAILED = 3
    PENDING = 4

    label: str
    """The name in reasons, files and messages: `dead_lettered`."""
    record: int
    """Add it to a ledger's total for an event that arrived and found this outcome in one step."""
    settle: int
    """Add it for each pending event that has found this outcome."""

    @staticmethod
    def from_label(label: str) -> Outcome | None:
        """Return the outcome of that label, if there is one."""
        return _BY_LABEL.get(label)


for _member in Outcome:  # an attribute is looked up without a call, see `Ledger`
    _member.label = _member.name.lower()
_BY_LABEL = {outcome.label: outcome for outcome in Outcome}
_WORDS = tuple(outcome.name.lower() for outcome in Outcome)
_FAILED_MARK = f"{_WORDS[Outcome.FAILED]}: "
_MAX_REASONS = 64
_OTHER = "other reasons"


@attrs.frozen(kw_only=True)
class Counts:
    """The counts of one route at one moment. They can be added."""

    received: int = 0
    delivered: int = 0
    filtered: int = 0
    failed: int = 0
    dead_lettered: int = 0
    pending: int = 0
    reasons: Mapping[str, int] = attrs.field(factory=dict)
    """Why events were filtered, failed, dead-lettered or mended: `{"failed: OSError": 3}`.

    At most 64 different ones.
    """

    @property
    def balanced(self) -> bool:
        """Whether the law holds: nothing was lost unseen."""
        return self.received == self.settled + self.pending

    @property
    def settled(self) -> int:
        """The events with a final outcome."""
        return self.delivered + self.filtered + self.failed + self.dead_lettered

    def __add__(self, other: Counts) -> Counts:
        reasons = dict(self.reasons)
        for reason, count in other.reasons.items():
            reasons[reason] = reasons.get(reason, 0) + count
        return Counts(
            **{name: getattr(self, name) + getattr(other, name) for name in _NAMES}, reasons=reasons
        )


_NAMES = ("received", "delivered", "filtered", "failed", "dead_lettered", "pending")

# The six counts stand side by side in one integer, each in a lane of its own. CPython looks for
# other threads and for signals only at calls and at backward jumps, so `ledger.total += n` happens
# whole without a lock; and on a lock, a signal handler or a destructor that emits would
# deadlock. A lane may be negative, in a process that settles an event which another received.
_LANE_BITS = 48
_LANE_MASK = (1 << _LANE_BITS) - 1
_LANE_HALF = 1 << (_LANE_BITS - 1)
_RECEIVED_UNIT = 1
_OUTCOME_LANES = {"delivered": 1, "filtered": 2, "failed": 3, "dead_lettered": 4, "pending": 5}
_UNITS = tuple(1 << (_LANE_BITS * _OUTCOME_LANES[outcome.name.lower()]) for outcome in Outcome)

for _member in Outcome:
    _member.record = _RECEIVED_UNIT + _UNITS[_member]
    _member.settle = _UNITS[_member] - _UNITS[Outcome.PENDING]
ENTER = _RECEIVED_UNIT + _UNITS[Outcome.PENDING]
"""Add this to a ledger's total for each event that arrives."""


def change_of(before: Outcome | None, after: Outcome | None) -> int:
    """Return the addition to a ledger's total that moves one event; None: not counted there."""
    return (0 if after is None else after.record) - (0 if before is None else before.record)


def reason_text(outcome: Outcome, reason: str) -> str:
    """Say why, as the books have it."""
    return f"{_WORDS[outcome]}: {reason}"


class Ledger:
    """The books of one route in one process, safe from any thread, signal handler or destructor.

    `total` is public to the routing alone, which adds `ENTER`, `outcome.settle` and
    `outcome.record` to it in place, because a method call would cost more than the addition.
    """

    __slots__ = ("_reasons", "_told", "places", "total")

    def __init__(self) -> None:
        self.total = 0
        self._reasons: dict[str, int] = {}
        self._told: dict[str, int] = {}
        self.places: dict[str, str] = {}
        """Where the code broke, `plugin.py:15`, the last time, by the reason."""

    def note(self, outcome: Outcome, reason: str, count: int = 1, place: str = "") -> None:
        """Remember why, and where in the code; the counts themselves do not change."""
        self.remark(reason_text(outcome, reason), count, place)

    def remark(self, text: str, count: int = 1, place: str = "") -> None:
        """Count a text, which may have no outcome, such as a mended value."""
        reasons = self._reasons
        if text not in reasons:
            text = text if len(reasons) < _MAX_REASONS else _OTHER
            reasons.setdefault(text, 0)
        reasons[text] += count
        if place and text is not _OTHER:
            self.places[text] = place

    def remark_once(self, text: str) -> bool:
        """Count a text; return whether it is new."""
        is_new = text not in self._reasons
        self.remark(text)
        return is_new

    def take_failures(self) -> dict[str, int]:
        """Return why events failed, as far as that was not returned before."""
        found = {
            text: count
            for text, count in list(self._reasons.items())
            if text.startswith(_FAILED_MARK)
        }
        told, self._told = self._told, found
        return {
            text: count - told.get(text, 0)
            for text, count in found.items()
            if count > told.get(text, 0)
        }

    def counts(self) -> Counts:
        """Read the books."""
        return Counts(**_lanes(self.total), reasons=dict(self._reasons))


def _lanes(total: int) -> dict[str, int]:
    lanes = []
    for _ in range(len(_NAMES)):
        lane = total & _LANE_MASK
        lane -= (lane & _LANE_HALF) << 1
        total = (total - lane) >> _LANE_BITS
        lanes.append(lane)
    return dict(zip(_NAMES, lanes, strict=True))
