"""event-tracking and its successor in one environment: both are found, and what to do is said."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from eventtracking_django import predecessor
from eventtracking_django.checks import check_settings
from eventtracking_testkit.distribution import fake_distribution

METADATA = "Metadata-Version: 2.1\nName: event-tracking\nVersion: 4.0.2\n"
SETUP = """
import django
from django.conf import settings
settings.configure(INSTALLED_APPS=["eventtracking_django"], EVENT_TRACKING={})
django.setup()
"""


def test_both_installed_is_a_system_check() -> None:
    """Where event-tracking is installed, too, a check names it and says what to do."""
    assert predecessor.advice() is None
    with fake_distribution("event-tracking", version="4.0.2"):
        (message,) = check_settings()
    assert message.id == "eventtracking.E002"
    assert message.msg.startswith("event-tracking 4.0.2 is installed, too")
    assert "pip uninstall event-tracking" in message.msg


@pytest.mark.process
def test_overwritten_modules_stop_the_start_with_what_to_do(tmp_path: Path) -> None:
    """Where event-tracking's modules have taken the place of ours, the application does not start,
    and says why.
    """
    import eventtracking

    other = tmp_path / "eventtracking"
    shutil.copytree(
        Path(eventtracking.__file__).parent, other, ignore=shutil.ignore_patterns("__pycache__")
    )
    for overwritten in ("__init__.py", "tracker.py"):
        (other / overwritten).write_text("", encoding="utf-8")
    metadata = tmp_path / "event_tracking-4.0.2.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(METADATA, encoding="utf-8")
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", SETUP], check=False, capture_output=True, text=True, env=env
    )
    assert done.returncode == 1
    assert "ImproperlyConfigured: event-tracking 4.0.2 is installed, too" in done.stderr


@pytest.mark.process
def test_both_installed_is_told_at_start_up(tmp_path: Path) -> None:
    """Where ours are the modules that run, the application starts and warns, because a server runs
    no checks.
    """
    metadata = tmp_path / "event_tracking-4.0.2.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(METADATA, encoding="utf-8")
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", SETUP], check=False, capture_output=True, text=True, env=env
    )
    assert (done.returncode, done.stderr.count("\n")) == (0, 1)
    assert done.stderr.startswith(
        "event-tracking 4.0.2 is installed, too, and both write into the folder"
    )
