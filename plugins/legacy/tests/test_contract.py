"""The plugin `legacy_processor` keeps the contract of every processor, also if a site's
code changes its dict.
"""

from __future__ import annotations

from typing import Any

import pytest

from eventtracking_testkit.contracts import ProcessorContract


class TestInPlace(ProcessorContract):
    """A site's processor that changes its dict in place, into another shape."""

    plugin = "legacy_processor"

    @pytest.fixture
    def options(self) -> dict[str, Any]:
        """The site's processor."""
        return {"engine": "site_code.OlderShape"}


class TestList(ProcessorContract):
    """A site's processor that makes a list of each event."""

    plugin = "legacy_processor"

    @pytest.fixture
    def options(self) -> dict[str, Any]:
        """The site's processor."""
        return {"engine": "site_code.Splitter"}


class TestNoEngine(ProcessorContract):
    """Without a site's processor an event passes as it is."""

    plugin = "legacy_processor"

    @pytest.fixture
    def options(self) -> dict[str, Any]:
        """No option at all."""
        return {}
