"""Give every test of the workspace the fixtures that start real servers, and hold tests to their
marks.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

pytest_plugins = ["eventtracking_testkit.services.fixtures"]

_STARTS = frozenset(
    {"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.system"}
)
"""Python's audit events of a process that starts."""
_ALLOWED = ("process", "service", "soak", "fuzz")

_quick: list[pytest.Item] = []
"""The test that runs now, if its marks say that it starts no process."""


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Remember a test that must start no process, its fixtures included."""
    if not any(map(item.get_closest_marker, _ALLOWED)):
        _quick.append(item)
    yield
    _quick.clear()


def _refuse_processes(event: str, _arguments: object) -> None:
    if _quick and event in _STARTS:
        raise RuntimeError(f"{_quick[0].nodeid} starts a process: mark it `process` ({event})")


sys.addaudithook(_refuse_processes)
