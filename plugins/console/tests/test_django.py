"""The console in a Django project: a process of its own, because Django has one per process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.needs("django", "buffer", "sqlite"), pytest.mark.once]


@pytest.mark.process
@pytest.mark.timeout(120)
def test_staff_with_a_permission(tmp_path: Path) -> None:
    """Who may look and who may replay; live pages under ASGI: see `django_project.py`."""
    program = Path(__file__).with_name("django_project.py")
    done = subprocess.run(
        [sys.executable, program, tmp_path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "all steps passed\n"
