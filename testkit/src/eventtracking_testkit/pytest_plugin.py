"""The pytest plugin: captured events, distributions for a test, a fresh default tracker, and the
law after every test.

pytest loads it where the test kit is installed. Nothing of eventtracking is imported before the
first test runs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from eventtracking_testkit._captured import CapturedEvents
    from eventtracking_testkit._watch import Watch

__all__ = ["events", "install_distribution"]

pytest.register_assert_rewrite("eventtracking_testkit.contracts")

_MARK: Final = "unaccounted"
_DECLARED: Final = "eventtracking_demand_declarations"
_LOCAL: Final[pytest.StashKey[frozenset[int]]] = pytest.StashKey()
_WATCH: Final[pytest.StashKey[Watch]] = pytest.StashKey()


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marks."""
    config.addinivalue_line("markers", "process: starts a process, or becomes two")
    config.addinivalue_line(
        "markers",
        f"{_MARK}(reason): the events of this test's trackers are left unaccounted for on purpose;"
        " say why",
    )


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the setting."""
    parser.addini(
        _DECLARED,
        "the fixture `events` fails a test that emits an event which is not declared",
        type="bool",
        default=False,
    )


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Give the test a default tracker as new, and watch the trackers that it makes."""
    from eventtracking_testkit._watch import Watch

    item.stash[_WATCH] = watch = Watch()
    watch.begin()
    item.stash[_LOCAL] = registry.local() if (registry := _registry()) else frozenset()
    mark = item.get_closest_marker(_MARK)
    if mark is not None:
        watch.excuse()
        if not (mark.kwargs.get("reason") or "".join(map(str, mark.args))).strip():
            pytest.fail(f"@pytest.mark.{_MARK} needs a reason", pytrace=False)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Fail a test that would pass, if its events are not accounted for."""
    yield
    item.stash[_WATCH].passed = True
    _check(item.stash[_WATCH])


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """Check again when the fixtures have closed what they opened; then put the default tracker
    back.
    """
    watch = item.stash[_WATCH]
    try:
        yield
        if watch.passed:
            _check(watch)
    finally:
        watch.end()
        if registry := _registry():
            registry.drop_local(item.stash[_LOCAL])


def _registry() -> Any:
    """Return the declarations of this process, if a catalog was imported: those that stand in the
    functions of a test are forgotten after it.
    """
    module = sys.modules.get("eventtracking_catalog.registry")
    return getattr(module, "registry", None)


def _check(watch: Watch) -> None:
    broken = watch.broken_laws()
    if broken:
        watch.passed = False
        pytest.fail("events are not accounted for:\n  " + "\n  ".join(broken), pytrace=False)


@pytest.fixture(scope="session")
def _capturing() -> Iterator[Path]:
    """Make a distribution with the backend that captures; it is on the import path only while a
    tracker is configured.
    """
    from eventtracking_testkit._captured import CAPTURING, CapturingBackend
    from eventtracking_testkit.distribution import fake_distribution

    with fake_distribution(plugins={CAPTURING: CapturingBackend}) as folder:
        sys.path.remove(str(folder))
        yield folder


@pytest.fixture
def events(_capturing: Path, request: pytest.FixtureRequest) -> Iterator[CapturedEvents]:
    """Capture what the code under test emits through the default tracker, instead of what its
    config says.

    A list of `Event`, in the order of their emission, with `names` and `named(name)` for short
    assertions. Contexts work as ever; processors and backends of the application's own config are
    out of the way for this test. With `events.demand_declarations()`, or the setting
    `eventtracking_demand_declarations` of pytest, each event must be declared and conform.
    """
    from eventtracking_testkit._captured import capture

    with capture(_capturing) as captured:
        if request.config.getini(_DECLARED):
            captured.demand_declarations()
        yield captured
        complaints = captured.complaints()
    if complaints:
        pytest.fail("events do not conform:\n  " + "\n  ".join(complaints), pytrace=False)


@pytest.fixture
def install_distribution() -> Iterator[Callable[..., Path]]:
    """Return `fake_distribution` as a function: what it installs stays until the end of
    the test.
    """
    from eventtracking_testkit.distribution import fake_distribution

    with ExitStack() as stack:

        def install(name: str = "", **parts: Mapping[str, Any] | str) -> Path:
            distribution: AbstractContextManager[Path] = fake_distribution(name, **parts)  # type: ignore[arg-type]  # passed on as they are
            return stack.enter_context(distribution)

        yield install
