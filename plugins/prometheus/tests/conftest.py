"""A folder and a port for each test."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from eventtracking_prometheus.observer import running


@pytest.fixture
def port() -> int:
    """A free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number


@pytest.fixture(autouse=True)
def no_observer_is_left() -> Iterator[None]:
    """Whatever a test starts, it closes."""
    yield
    assert running() == []


@pytest.fixture
def observer(port: int, tmp_path: Path) -> dict[str, Any]:
    """The node of the observer in a config."""
    return {"plugin": "prometheus", "port": port, "folder": str(tmp_path / "shared")}
