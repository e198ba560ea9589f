"""The package itself: its public names, imported when they are asked for."""

from __future__ import annotations

import subprocess
import sys

import pytest

import eventtracking_testkit


def test_the_main_names_are_at_the_top() -> None:
    """One import for the contracts, for a fake distribution, and for the type of the fixture
    `events`.
    """
    from eventtracking_testkit._captured import CapturedEvents
    from eventtracking_testkit.contracts import BackendContract
    from eventtracking_testkit.distribution import fake_distribution

    assert eventtracking_testkit.BackendContract is BackendContract
    assert eventtracking_testkit.CapturedEvents is CapturedEvents
    assert eventtracking_testkit.fake_distribution is fake_distribution
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        eventtracking_testkit.nothing  # type: ignore[attr-defined]  # noqa: B018 - asking is what is tested


def test_every_public_name_is_there() -> None:
    """What the package lists can be had."""
    assert all(hasattr(eventtracking_testkit, name) for name in eventtracking_testkit.__all__)


@pytest.mark.process
def test_they_are_not_imported_before() -> None:
    """The package costs a run of pytest next to nothing."""
    source = (
        "import eventtracking_testkit, sys; print([m for m in sys.modules if"
        " m.startswith('eventtracking')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, check=True
    )
    assert done.stdout == "['eventtracking_testkit']\n"
