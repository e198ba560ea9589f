"""The pages that follow from the code are as the code is now, and show every plugin, command and
hook.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

import reference
import workspace
from eventtracking import hookspecs
from eventtracking_cli.app import BUILT_IN

pytestmark = pytest.mark.timeout(120)  # every plugin is imported, and every module read

PAGES = reference.REFERENCE


@pytest.mark.process
def test_the_generated_pages_are_current() -> None:
    """Whoever changes an option, a command's help or a hook writes them anew: `.venv/bin/python
    tools/reference.py`.
    """
    # In a process of its own: the plugins and commands that other tests installed are not there.
    check = [sys.executable, "tools/reference.py", "--check"]
    done = subprocess.run(check, check=False, capture_output=True, text=True, cwd=workspace.ROOT)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_they_leave_nothing_out() -> None:
    """Every plugin of the workspace, every built-in command and every hook has its heading."""
    folders = {
        member.name for member in workspace.ready_members() if member.parent.name == "plugins"
    }
    commands = {plugin.distribution for plugin in reference.our_plugins()}
    assert {
        name.removeprefix("eventtracking-").replace("-", "_") for name in commands
    } >= folders - {"console", "django"}
    headings = {
        page: set((PAGES / page).read_text(encoding="utf-8").splitlines())
        for page in ("command-line.md", "hooks.md")
    }
    assert {f"## {command}" for command in BUILT_IN} <= headings["command-line.md"]
    hooks = [name for name in hookspecs.__all__ if name.startswith("eventtracking_")]
    assert len(hooks) == 5
    assert all(
        any(line.startswith(f"## {hook}(") for line in headings["hooks.md"]) for hook in hooks
    )
