"""The buffer keeps the contract of routers, in memory and on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from eventtracking_testkit.contracts import RouterContract


class TestMemory(RouterContract):
    """In memory."""

    plugin = "buffer"

    @pytest.fixture
    def options(self) -> dict[str, Any]:
        """Everything by default."""
        return {"max_batch_age_s": 0.01}


class TestDisk(RouterContract):
    """On disk."""

    plugin = "buffer"

    @pytest.fixture
    def options(self, tmp_path: Path) -> dict[str, Any]:
        """A folder of this test's own."""
        return {"storage": "disk", "path": str(tmp_path / "buffer"), "max_batch_age_s": 0.01}
