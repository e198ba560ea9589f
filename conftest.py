"""Give every test of the workspace the fixtures that start real servers, hold tests to their marks,
and leave out the tests of absent distributions.

`pytestmark = pytest.mark.needs("sqlite")` says that the tests of a module use another distribution,
beyond its own one's needs. Where that is not installed the module is skipped, not imported.
"""

from __future__ import annotations

import ast
import importlib.metadata
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

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


class Skipped(pytest.Module):
    """A module of tests that is not imported."""

    reason = ""

    def collect(self) -> list[pytest.Item]:
        """Say why."""
        pytest.skip(self.reason, allow_module_level=True)


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> Skipped | None:
    """Take the place of a module whose needs are not installed."""
    absent = [name for name in needs_of(module_path) if not is_installed(name)]
    if not absent:
        return None
    module: Skipped = Skipped.from_parent(parent, path=module_path)
    module.reason = f"not installed: {', '.join(absent)}"
    return module


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Leave out a single test whose needs are not installed."""
    named = [name for mark in item.iter_markers("needs") for name in mark.args]
    if absent := [name for name in named if not is_installed(name)]:
        pytest.skip(f"not installed: {', '.join(absent)}")


def needs_of(module: Path) -> Iterator[str]:
    """Yield the distributions that the tests of a module need: its own, and those it names."""
    root = Path(__file__).parent
    parts = module.relative_to(root).parts if module.is_relative_to(root) else ()
    if parts[:1] == ("plugins",):
        yield parts[1]
    for node in ast.parse(module.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytestmark":
            for call in ast.walk(node.value):
                if isinstance(call, ast.Call) and ast.unparse(call.func) == "pytest.mark.needs":
                    yield from map(ast.literal_eval, call.args)


def is_installed(name: str) -> bool:
    """Whether there is the distribution of a plugin, or of the command."""
    try:
        importlib.metadata.distribution(f"eventtracking-{name.replace('_', '-')}")
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


@pytest.fixture(autouse=True)
def _closed_trackers() -> Iterator[None]:
    """Close the trackers that a test made and left open; at the exit they would tell their losses
    after the summary of the run.
    """
    from eventtracking._pipeline import process

    before = set(process.living())
    yield
    for tracker in process.living():
        if tracker not in before:
            with suppress(BaseException):  # the backends of a test may raise anything
                tracker.close(0.0)
