"""The plugins `catalog` and `redact` keep the contract of processors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from eventtracking import Event
from eventtracking_catalog import register
from eventtracking_catalog.registry import registry
from eventtracking_testkit.contracts import ProcessorContract
from eventtracking_testkit.samples import sample_event


class TestCatalog(ProcessorContract):
    """Every policy that needs no router."""

    plugin = "catalog"

    @pytest.fixture
    def options(self, tmp_path: Path) -> dict[str, Any]:
        file = tmp_path / "catalog.toml"
        file.write_text("[events.'testkit.sample.event'.fields]\na = 'int'")
        return {
            "files": [str(file)],
            "unknown_type": "tag",
            "unknown_field": "drop_field",
            "missing_field": "warn",
            "wrong_type": "drop",
            "too_large": "drop",
            "max_event_bytes": 100_000,
            "records": False,
        }


class TestRedact(ProcessorContract):
    """Each action, on a declared type."""

    plugin = "redact"

    @pytest.fixture
    def options(self) -> Iterator[dict[str, Any]]:
        fields = {"a": {"type": "any", "pii": "none"}, "b": {"type": "any", "pii": "email"}}
        register("testkit.sample.event", "A sample.", fields)
        yield {"hash": ["email"], "otherwise": "mask", "key": "k" * 32}
        registry.drop_local()

    @pytest.fixture
    def sample(self) -> Event:
        return sample_event(name="testkit.sample.event")
