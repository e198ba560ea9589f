"""Plugins that break a contract in one thing are caught by the test that is about it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from bad import CAUGHT_BY
from good import GoodBackend, GoodRouter

pytestmark = pytest.mark.once
pytest_plugins = ["pytester"]

SUITE = """
import sys
sys.path.insert(0, {folder!r})
from contextlib import ExitStack
import pytest
import bad, test_good
from eventtracking_testkit.distribution import fake_distribution

@pytest.fixture(autouse=True, scope="module")
def installed():
    with ExitStack() as stack:
        for c in bad.REFUSED_BY_CORE:
            stack.enter_context(fake_distribution(plugins={{c.__name__: c}}))
        rest = {{c.__name__: c for c in bad.CAUGHT_BY if c not in bad.REFUSED_BY_CORE}}
        stack.enter_context(fake_distribution("testkit-bad", plugins=rest))
        yield
"""


def contract_of(bad: type[Any]) -> str:
    if issubclass(bad, GoodRouter):
        return "TestGoodRouter"
    return "TestGoodBackend" if issubclass(bad, GoodBackend) else "TestGoodProcessor"


@pytest.mark.timeout(180)
@pytest.mark.unaccounted(reason="the inner run has plugins that lose events, in this process")
def test_each_is_caught(pytester: pytest.Pytester) -> None:
    """Each bad plugin fails the very test that is named beside it."""
    classes = [
        f"class Test_{bad.__name__}(test_good.{contract_of(bad)}):\n    plugin = {bad.__name__!r}\n"
        for bad in CAUGHT_BY
    ]
    pytester.makepyprojecttoml(
        '[tool.pytest.ini_options]\nasyncio_default_fixture_loop_scope = "function"'
    )
    file = pytester.makepyfile(SUITE.format(folder=str(Path(__file__).parent)) + "\n".join(classes))
    wanted = [f"{file}::Test_{bad.__name__}::{test}" for bad, test in CAUGHT_BY.items()]
    run = pytester.inline_run("-q", "-p", "no:cacheprovider", *wanted)
    failed = {
        report.nodeid.partition("::")[2].partition("[")[0] for report in run.listoutcomes()[2]
    }
    missed = {
        bad.__name__: test
        for bad, test in CAUGHT_BY.items()
        if f"Test_{bad.__name__}::{test}" not in failed
    }
    assert missed == {}
