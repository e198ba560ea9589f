"""Each install line of the documents gives an environment in which the sample below it works."""

from __future__ import annotations

from pathlib import Path

import pytest

import installs
import workspace
from wheels import build

pytestmark = pytest.mark.timeout(180)

LINES = [line for line in installs.installs() if line.sample]
QUICK = ("plugins/async_celery/README.md", "cli/README.md")


def lines() -> list[object]:
    """Leave all but the lines that have failed before to the long form."""
    return [
        pytest.param(line, id=str(line), marks=[] if line.document in QUICK else pytest.mark.soak)
        for line in LINES
    ]


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel of every distribution."""
    folder = tmp_path_factory.mktemp("wheels")
    for member in workspace.ready_members():
        build(member, folder)
    return folder


@pytest.mark.process
@pytest.mark.timeout(300)
@pytest.mark.parametrize("line", lines())
def test_an_install_line_brings_all_that_its_sample_needs(
    line: installs.Install, wheels: Path, tmp_path: Path
) -> None:
    """In an environment that holds nothing else, everything imports and the sample runs."""
    assert installs.problem_with(line, wheels, tmp_path) == ""


def test_every_document_with_a_sample_is_found() -> None:
    """The lines are read from the documents themselves: none is left out for its form."""
    found = {line.document for line in LINES}
    assert {"core/README.md", "plugins/async_celery/README.md", "testkit/README.md"} <= found
    assert all(line.requirements for line in LINES)
