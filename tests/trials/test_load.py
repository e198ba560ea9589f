"""Many events pass, memory stays flat, and the counts add up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from trial_tools import SITE

pytestmark = pytest.mark.needs("buffer")

GROWTH = 1.25
NOISE_KB = 16_000


@pytest.mark.process
@pytest.mark.parametrize(
    ("storage", "count"),
    [
        ("memory", 100_000),
        ("disk", 25_000),
        pytest.param("memory", 2_000_000, marks=[pytest.mark.soak, pytest.mark.timeout(1800)]),
        pytest.param("disk", 500_000, marks=[pytest.mark.soak, pytest.mark.timeout(1800)]),
    ],
)
def test_memory_is_flat_and_the_counts_add_up(tmp_path: Path, storage: str, count: int) -> None:
    """After the warm-up the process does not grow, every event is delivered once, and nothing is
    left on disk but the books.
    """
    node: dict[str, Any] = {
        "plugin": "buffer",
        "storage": storage,
        "backends": {"end": {"plugin": "trial_count"}},
    }
    node |= {"when_full": "block", "block_timeout_s": 60.0, "max_events": 5_000}
    if storage == "disk":
        node["path"] = str(tmp_path / "buffer")
    report = run(node, count)
    assert report["finished"]
    assert report["balanced"]
    for path in ("", "kept", "kept/end"):
        counts = report["counts"][path]
        assert (counts["received"], counts["delivered"], counts["pending"]) == (count, count, 0), (
            path,
            counts,
        )
    check_memory(report["memory_kb"])
    assert sum(file.stat().st_size for file in tmp_path.rglob("*") if file.is_file()) < 10_000_000


def run(node: dict[str, Any], count: int) -> dict[str, Any]:
    """Run in a process of its own, whose memory nobody else uses."""
    command: list[str | Path] = [
        sys.executable,
        SITE / "trial_run.py",
        json.dumps(node),
        str(count),
    ]
    done = subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": str(SITE)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def check_memory(samples_kb: list[int]) -> None:
    """Compare the end with what was reached in the first fifth, when the buffer was full for the
    first time.
    """
    warm = max(samples_kb[: len(samples_kb) // 5])
    assert max(samples_kb[-len(samples_kb) // 4 :]) <= GROWTH * warm + NOISE_KB, samples_kb
