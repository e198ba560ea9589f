"""A plugin that `eventtracking new-plugin` makes is green as it is."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import workspace

ZIZMOR = Path(sys.executable).parent / "zizmor"

pytestmark = [pytest.mark.timeout(180), pytest.mark.needs("buffer")]


@pytest.mark.process
@pytest.mark.parametrize("kind", ["backend", "processor", "router", "observer"])
def test_it_is_green_as_generated(
    kind: str, environment: Path, run: Callable[..., str], tmp_path: Path
) -> None:
    """Installed beside wheels of core and the test kit, its tests and its types pass."""
    name = f"acme_made_{kind}"
    assert "Next: cd" in run(tmp_path, "eventtracking", "new-plugin", kind, name)
    folder = tmp_path / name
    places = ("--build-constraints", workspace.CONSTRAINTS, "--no-sources", "--no-deps")
    python = environment / "bin" / "python"
    workspace.uv("pip", "install", "-q", "--python", python, *places, "-e", folder)
    text = run(folder, "python", "-m", "pytest", "-q", "-p", "no:cacheprovider")
    assert " passed" in text
    assert "skipped" not in text
    assert "Success" in run(folder, "mypy", "src", "tests")
    assert name in run(folder, "eventtracking", "plugins", name)
    found = workspace.tried(ZIZMOR, "--offline", "--pedantic", "--quiet", folder / ".github")
    assert found.returncode == 0, found.stdout + found.stderr
    workspace.uv("pip", "uninstall", "-q", "--python", python, name.replace("_", "-"))
