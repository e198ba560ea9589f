"""`run_in_fork` brings back how the child ended."""

from __future__ import annotations

import os
import signal
import time

import pytest

from eventtracking_testkit.forks import run_in_fork

pytestmark = pytest.mark.process


def test_a_child_that_is_well() -> None:
    """Nothing is raised, and the parent did its part meanwhile."""
    done: list[int] = []
    run_in_fork(lambda: done.append(1), meanwhile=lambda: done.append(2))
    assert done == [2]


def test_a_child_that_raises() -> None:
    """Its traceback is shown."""
    with pytest.raises(
        AssertionError, match=r"the forked child failed:\nTraceback[\s\S]*ZeroDivisionError"
    ):
        run_in_fork(lambda: 1 / 0)


def test_a_child_that_is_killed() -> None:
    """A child that dies without a word is a failure too."""
    with pytest.raises(AssertionError, match="died without a word"):
        run_in_fork(lambda: os.kill(os.getpid(), signal.SIGKILL))


def test_a_child_that_hangs() -> None:
    """It is killed when its time is up."""
    with pytest.raises(AssertionError, match=r"the forked child hung for 0\.2 s"):
        run_in_fork(lambda: time.sleep(60), timeout_s=0.2)
