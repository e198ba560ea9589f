"""A site moves over in the order of the guide, and is never without its tracking log."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent / "moving"))
import steps


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("app", steps.APPS)
def test_step_by_step(app: str, tmp_path: Path) -> None:
    """Requirements, check-environment, check, start; then the old package again by mistake, and the
    printed commands: each request of the way is in the tracking log once.
    """
    wheels = steps.wheels_in(tmp_path / "wheels")
    venv = steps.environment_in(tmp_path)
    assert steps.problems_of(app, venv, wheels, tmp_path) == []
