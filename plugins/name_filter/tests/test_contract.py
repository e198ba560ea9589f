"""The plugin `name_filter` keeps the contract of every processor."""

from __future__ import annotations

from typing import Any

import pytest

from eventtracking_testkit.contracts import ProcessorContract


class TestNameFilter(ProcessorContract):
    """An allowlist, with names on both of its sides."""

    plugin = "name_filter"

    @pytest.fixture
    def options(self) -> dict[str, Any]:
        """Two of the names that the contract tries."""
        return {"names": ["testkit.sample.event", "a"]}
