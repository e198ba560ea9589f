"""The survival matrix holds: what is emitted arrives, however the process ends."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
KEPT_BY_MEMORY = (
    "clean exit, 2,000 queued",
    "5 before a fork, 20 in the child",
    "gunicorn, preload, 2 workers, stopped",
    "delivered by Celery, worker `kill -9` mid-batch",
)
WAYS = 9

pytestmark = pytest.mark.service  # it starts a Redis of its own


@pytest.mark.parametrize(
    "times",
    [
        pytest.param(1, marks=pytest.mark.timeout(300)),
        pytest.param(10, marks=[pytest.mark.soak, pytest.mark.timeout(3600)]),
    ],
)
def test_disk_keeps_everything_and_memory_what_it_promises(times: int) -> None:
    """Disk loses nothing in any cell; memory nothing at a clean exit and across forks; the law
    holds after each.
    """
    for _ in range(times):
        rows = measure("--only", "memory", "--only", "disk")
        assert len(rows) == WAYS
        for row in rows:
            assert row["kept"]["disk"] == row["emitted"], row
            if row["way"] in KEPT_BY_MEMORY:
                assert row["kept"]["memory"] == row["emitted"], row


@pytest.mark.soak
def test_the_peers_are_measured_in_the_same_run() -> None:
    """The whole matrix can be had, and every peer delivers something, so that none of them was
    merely set up wrongly.
    """
    rows = measure()
    for peer in ("posthog", "segment", "rudderstack", "snowplow", "opentelemetry", "sentry"):
        assert sum(row["kept"].get(peer, 0) for row in rows) > 0, peer


def measure(*options: str) -> list[dict[str, Any]]:
    command: list[str | Path] = [sys.executable, ROOT / "bench" / "survival.py", "--json", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode in (0, 1), done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]
