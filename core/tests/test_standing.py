"""An event's standing at the routes below a router."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

from eventtracking import Outcome
from eventtracking.standing import Routes, Tally, from_names, groups_over, to_names

ROUTES = Routes("r", ["r/g/a", "r/g/h/b", "r/c"])
D, F, X, P, L = (
    Outcome.DELIVERED,
    Outcome.FILTERED,
    Outcome.FAILED,
    Outcome.PENDING,
    Outcome.DEAD_LETTERED,
)


def test_groups_lie_between_the_router_and_its_leaves() -> None:
    """Outer ones first; a path that is no part of the router has none."""
    assert ROUTES.groups == {"r/g": ("r/g/a", "r/g/h/b"), "r/g/h": ("r/g/h/b",)}
    assert groups_over("r/g/h/b", "r") == ("r/g", "r/g/h")
    assert groups_over("r", "r") == groups_over("a/b", "a/b") == groups_over("x/y", "r") == ()
    assert groups_over("g/a", "") == ("g",)


def test_a_group_waits_for_its_leaves_and_counts_by_the_worst() -> None:
    """None before it has the event, pending until all of its leaves are done."""
    assert ROUTES.at("r/g", {"r/c": D}) is None
    assert ROUTES.at("r/g", {"r/g/a": D}) is P
    assert ROUTES.at("r/g", {"r/g/a": D}, final=True) is D
    assert ROUTES.at("r/g", {"r/g/a": L, "r/g/h/b": D}) is L
    assert not ROUTES.is_settled({"r/g/a": D, "r/g/h/b": D})
    assert ROUTES.is_settled({"r/g/a": D, "r/g/h/b": D, "r/c": X})


def test_a_group_whose_processors_ended_an_event_hides_what_is_below() -> None:
    """Its leaves count nothing; each is still asked once, which a lane of its own does."""
    ended = {"r/g": F, "r/g/a": F, "r/g/h/b": F}
    assert ROUTES.at("r/g", ended) is F
    assert [ROUTES.at(path, ended) for path in ("r/g/a", "r/g/h", "r/g/h/b")] == [None] * 3
    assert ROUTES.waits_at("r/g/h/b", {"r/g": F})
    assert not ROUTES.waits_at("r/g/h/b", ended)
    assert ROUTES.waits_at("r/c", ended)


def test_an_independent_leaf_counts_what_it_has_taken() -> None:
    """Until then the router above counts it as pending."""
    routes = Routes("r", ["r/inner"], ["r/inner"])
    assert routes.at("r/inner", {"r/inner": P}) is P
    assert routes.at("r/inner", {"r/inner": D}) is None
    assert routes.at("r/inner", {"r/inner": L}) is L


def test_a_tally_follows_the_standings() -> None:
    """Each path balances after each move, and an event that left is counted no more."""
    tally = Tally(ROUTES)
    tally.move(None, {"r/g/a": P})
    tally.move({"r/g/a": P}, {"r/g/a": D, "r/g/h/b": P}, count=1)
    counts = tally.counts()
    assert (counts["r/g"].received, counts["r/g"].pending) == (1, 1)
    tally.move({"r/g/a": D, "r/g/h/b": P}, {"r/g/a": D, "r/g/h/b": L, "r/c": D})
    counts = tally.counts()
    assert (counts["r/g"].dead_lettered, counts["r/g/h/b"].dead_lettered) == (1, 1)
    assert all(found.balanced for found in counts.values())
    tally.move({"r/g/a": D, "r/g/h/b": L, "r/c": D}, None)
    assert {found.received for found in tally.counts().values()} == {0}


def test_standings_are_names_on_disk_and_the_integers_of_before_are_read() -> None:
    """What is no outcome is refused, whatever its type."""
    standing = {"r/a": L, "r/b": P}
    assert to_names(standing) == {"r/a": "dead_lettered", "r/b": "pending"}
    assert from_names(to_names(standing)) == standing
    assert from_names({"r/a": 2, "r/b": 4}) == standing
    odd: Any
    for odd in ({"r/a": "lost"}, {"r/a": 5}, {"r/a": -1}, {"r/a": None}, {"r/a": []}, [1], True):
        with pytest.raises(ValueError, match="names of outcomes"):
            from_names(odd)


@pytest.mark.process
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_what_is_abandoned_is_never_finalised() -> None:
    """Neither when the child lets go of it, nor at the child's exit."""
    script = """
import os
from eventtracking.forks import abandon
class Thing:
    def __del__(self):
        os.write(1, b"%d " % os.getpid())
thing = Thing()
pid = os.fork()
if pid == 0:
    abandon(thing)
    del thing
    raise SystemExit(0)
os.waitpid(pid, 0)
print(os.getpid(), flush=True)
del thing
"""
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    parent, *finalised = done.stdout.split()
    assert finalised == [parent], done
