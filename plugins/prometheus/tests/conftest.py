"""A folder and a port for each test."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from eventtracking_prometheus.observer import running
from eventtracking_testkit.services.fixtures import leave_out


@pytest.fixture
def port() -> int:
    """A free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number


@pytest.fixture(autouse=True)
def no_observer_is_left() -> Iterator[None]:
    """Close all that a test starts."""
    yield
    assert running() == []


@pytest.fixture
def observer(port: int, tmp_path: Path) -> dict[str, Any]:
    """The node of the observer in a config."""
    return {"plugin": "prometheus", "port": port, "folder": str(tmp_path / "shared")}


def found(program: str) -> str:
    """Find a program of Debian's package; skip without it, or fail where it is required."""
    path = shutil.which(program)
    if path is None:
        leave_out(f"{program} is not on PATH (Debian: apt-get install prometheus)")
    return path


@pytest.fixture
def promtool() -> str:
    """The program that checks metrics and rules."""
    return found("promtool")


@pytest.fixture
def prometheus() -> str:
    """The program that scrapes."""
    return found("prometheus")
