"""Give the tests of the legacy distribution the site's own code, and settings for Django."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parent / "parity"))


@pytest.fixture
def recorded() -> Iterator[dict[str, list[Any]]]:
    """The events that the site's backends get from now on, by tag."""
    import site_code

    site_code.RECORDED.clear()
    yield site_code.RECORDED
    site_code.RECORDED.clear()
