"""What the tests of core share: the fakes are really installed, and every tracker keeps the law."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.append(str(HERE / "site"))  # the module; the tests import it while they are collected


@pytest.fixture(autouse=True)
def fresh_fakes(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Install the fakes for one test, whose names other distributions' tests may use too, and
    record nothing yet.
    """
    import eventtracking_fakes

    monkeypatch.setattr(sys, "path", [*sys.path, str(HERE / "installed")])  # their `.dist-info`
    eventtracking_fakes.forget_everything()
    yield
    eventtracking_fakes.forget_everything()
