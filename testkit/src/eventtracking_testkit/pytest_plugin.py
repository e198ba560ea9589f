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
_WATCH: Final[pytest.StashKey[Watch]] = pytest.StashKey()


def pytest_configure(config: pytest.Config) -> None:
    """Declare the mark."""
    config.addinivalue_line(
        "markers",
        f"{_MARK}(reason): the events of this test's trackers are left unaccounted for on purpose;"
        " say why",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Give the test a default tracker as new, and watch the trackers that it makes."""
    from eventtracking_testkit._watch import Watch

    item.stash[_WATCH] = watch = Watch()
    watch.begin()
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
def events(_capturing: Path) -> Iterator[CapturedEvents]:
    """Capture what the code under test emits through the default tracker, instead of what its
    config says.

    A list of `Event`, in the order of their emission, with `names` and `named(name)` for short
    assertions. Contexts work as ever; processors and backends of the application's own config are
    out of the way for this test.
    """
    from eventtracking_testkit._captured import capture

    with capture(_capturing) as captured:
        yield captured


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
