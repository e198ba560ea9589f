"""The plugin `regex_filter` keeps the contract of processors."""

from __future__ import annotations

from typing import Any

import pytest

from eventtracking_testkit.contracts import ProcessorContract


class TestRegexFilter(ProcessorContract):
    """An allowlist, with names on both of its sides."""

    plugin = "regex_filter"

    @pytest.fixture
    def options(self) -> dict[str, Any]:
        return {
            "filter_type": "allowlist",
            "regular_expressions": [r"testkit\.", "^a$"],
            "match": "search",
        }
