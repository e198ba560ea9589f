"""The law is read off every route of a tracker."""

from __future__ import annotations

from typing import Any

import pytest

from eventtracking import Counts, Tracker
from eventtracking_testkit.law import broken_laws, wait_for_the_law


class Books(Tracker):
    """A tracker whose books say what a test wants; the routes named `router` are routers."""

    def __init__(self, **stats: Counts | Exception) -> None:
        super().__init__()
        self.books = stats

    def stats(self, *, shared: bool = True) -> dict[str, Any]:
        for counts in self.books.values():
            if isinstance(counts, Exception):
                raise counts
        return {path.replace("__", "/"): counts for path, counts in self.books.items()}

    def downstream(self, path: str) -> Any:
        if path != "router":
            raise KeyError(path)


@pytest.mark.unaccounted(reason="its trackers break the law on purpose")
@pytest.mark.parametrize(
    ("stats", "lines"),
    [
        ({"a": Counts(received=2, delivered=1, filtered=1)}, []),
        (
            {
                "router": Counts(received=1, pending=1),
                "router__below": Counts(received=1, pending=1),
            },
            [],
        ),
        (
            {"a": Counts(received=3, delivered=1)},
            [
                (
                    "route 'a': +2 events are unaccounted for: received=3, delivered=1, filtered=0,"
                    " failed=0, dead_lettered=0, pending=0"
                )
            ],
        ),
        (
            {"router__below": Counts(delivered=1, reasons={"failed: OSError": 2})},
            [
                (
                    "route 'router/below': -1 events are unaccounted for: received=0, delivered=1,"
                    " filtered=0, failed=0, dead_lettered=0, pending=0 [failed: OSError (2)]"
                )
            ],
        ),
        (
            {"routers": Counts(received=1, pending=1)},
            [
                (
                    "route 'routers': events are pending where no router holds them: received=1,"
                    " delivered=0, filtered=0, failed=0, dead_lettered=0, pending=1"
                )
            ],
        ),
        (
            {"router": Counts(delivered=1, pending=-1)},
            [
                (
                    "route 'router': a count is negative: received=0, delivered=1, filtered=0,"
                    " failed=0, dead_lettered=0, pending=-1"
                )
            ],
        ),
        ({"a": OSError("gone")}, ["the counts cannot be read: OSError: gone"]),
    ],
    ids=["balanced", "held", "lost", "doubled", "stuck", "negative", "unreadable"],
)
def test_what_is_wrong_is_said(stats: dict[str, Any], lines: list[str]) -> None:
    """Each breach is a line with the route, what is wrong, and the counts."""
    books = Books(**stats)
    assert broken_laws(books) == lines
    assert wait_for_the_law([books], timeout_s=0.0) == lines
