"""The tally: the counts of one tracker, over any number of processes and stores."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from eventtracking_prometheus._histograms import WIDTH
from eventtracking_prometheus._sheet import NUMBERS, Layout, Sheet, by_layout, layout_of, unpack

__all__ = ["DEATH", "Tally", "add_up"]

DEATH: Final = "failed: the process died"
_MAX_REASONS: Final = 64
_OTHER: Final = "other reasons"
_FAILED: Final = NUMBERS.index("failed")
_DEAD: Final = NUMBERS.index("dead_lettered")
_PENDING: Final = NUMBERS.index("pending")
_GAUGES: Final = (NUMBERS.index("bytes"), NUMBERS.index("capacity_bytes"))


class Tally(msgspec.Struct):
    """Numbers, reasons and histograms by route. Plain values: it is stored as JSON."""

    numbers: dict[str, list[int]] = msgspec.field(default_factory=dict)
    reasons: dict[str, dict[str, int]] = msgspec.field(default_factory=dict)
    histograms: dict[str, list[int]] = msgspec.field(default_factory=dict)
    oldest_s: dict[str, float] = msgspec.field(default_factory=dict)

    def add_row(self, layout: Layout, row: tuple[int, ...]) -> None:
        """Add the rows of one layout."""
        width = len(NUMBERS)
        numbers = self.numbers
        for index, route in enumerate(layout.routes):
            part = row[index * width : (index + 1) * width]
            known = numbers.get(route)
            numbers[route] = list(part) if known is None else _sum(known, part)
        at = len(layout.routes) * width
        for index, (route, text) in enumerate(layout.reasons):
            self.add_reason(route, text, row[at + index])
        at += len(layout.reasons)
        if layout.width == WIDTH:  # another version may have had other bounds
            for index, route in enumerate(layout.histograms):
                part = row[at + index * WIDTH : at + (index + 1) * WIDTH]
                known = self.histograms.get(route)
                self.histograms[route] = list(part) if known is None else _sum(known, part)

    def add_reason(self, route: str, text: str, count: int) -> None:
        """Count a reason; beyond 64 of a route, count it with the others."""
        reasons = self.reasons.setdefault(route, {})
        if text not in reasons and len(reasons) >= _MAX_REASONS:
            text = _OTHER
        reasons[text] = reasons.get(text, 0) + count

    def bury(self) -> None:
        """Count events that died with their process as failed: pending, or dead in memory."""
        for route, numbers in self.numbers.items():
            lost = numbers[_PENDING] + numbers[_DEAD]
            if lost:
                numbers[_FAILED] += lost
                numbers[_PENDING] = numbers[_DEAD] = 0
                self.add_reason(route, DEATH, lost)
            for gauge in _GAUGES:
                numbers[gauge] = 0
        self.oldest_s.clear()

    def add(self, other: Tally) -> None:
        """Add another tally."""
        for mine, theirs in (
            (self.numbers, other.numbers),
            (self.histograms, other.histograms),
        ):
            for route, part in theirs.items():
                known = mine.get(route)
                mine[route] = list(part) if known is None else _sum(known, part)
        for route, reasons in other.reasons.items():
            for text, count in reasons.items():
                self.add_reason(route, text, count)
        self.see_oldest(other.oldest_s.items())

    def see_oldest(self, ages: Iterable[tuple[str, float]]) -> None:
        """Keep the highest age of each route."""
        for route, age_s in ages:
            self.oldest_s[route] = max(self.oldest_s.get(route, 0.0), age_s)


def _sum(one: Iterable[int], other: Iterable[int]) -> list[int]:
    return [a + b for a, b in zip(one, other, strict=True)]


def add_up(sheets: Iterable[Sheet]) -> Iterator[tuple[str, Tally]]:
    """Add up sheets: a tally for each layout, with the name of its tracker."""
    sheets = list(sheets)
    layouts: dict[bytes, Layout] = {}
    for content, row in by_layout(sheets).items():
        layout = layout_of(Sheet(content, sheets[0].notes, 0))
        if layout is not None:
            layouts[content] = layout
            tally = Tally()
            tally.add_row(layout, unpack(row, layout.length))
            yield layout.tracker, tally
    for sheet in sheets:
        if sheet.notes.oldest_s and sheet.layout in layouts:
            aged = Tally()
            aged.see_oldest(sheet.notes.oldest_s.items())
            yield layouts[sheet.layout].tracker, aged
