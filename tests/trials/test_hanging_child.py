"""One child of a buffer hangs, and its sibling notices nothing."""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median, quantiles

import pytest
from trial_load import Load
from trial_tools import wait_for

from eventtracking import Tracker

pytestmark = pytest.mark.needs("buffer")

EVENTS_PER_S = 200
FACTOR = 2.5
NOISE_S = 0.1
"""What a busy machine adds to a delay, whoever hangs."""


@pytest.mark.timeout(180)
@pytest.mark.parametrize("storage", ["memory", "disk"])
@pytest.mark.parametrize("hanging_s", [2.5, pytest.param(60.0, marks=pytest.mark.soak)])
def test_the_sibling_of_one_that_hangs_is_not_late(
    tmp_path: Path, storage: str, hanging_s: float
) -> None:
    """Median and 95th percentile of the sibling's delays are, while the other hangs, what they were
    before; then all arrives.
    """
    hang = tmp_path / "hang"
    quick = {"plugin": "trial_delays", "path": str(tmp_path / "quick")}
    slow = {"plugin": "trial_delays", "path": str(tmp_path / "slow"), "hang_while": str(hang)}
    node = {"plugin": "buffer", "storage": storage, "backends": {"slow": slow, "quick": quick}}
    if storage == "disk":
        node["path"] = str(tmp_path / "buffer")
    with Tracker.from_config({"backends": {"kept": node}}) as tracker:
        with Load(tracker, EVENTS_PER_S).running() as load:
            time.sleep(min(hanging_s, 10.0))
            begun = load.count
            hang.touch()
            time.sleep(hanging_s)
            ended = load.count
        wait_for(
            lambda: len(delays(tmp_path / "quick")) == load.count, "the sibling has everything"
        )
        assert len(delays(tmp_path / "slow")) <= begun < ended
        compare(delays(tmp_path / "quick"), begun, ended)
        hang.unlink()
        assert tracker.flush(30)
        assert sorted(delays(tmp_path / "slow")) == list(range(load.count))
        for path in ("kept", "kept/slow", "kept/quick"):
            counts = tracker.stats()[path]
            assert counts.balanced
            assert counts.delivered == load.count


def delays(path: Path) -> dict[int, float]:
    """How late each event was, by its number. A last line may be half written."""
    if not path.exists():
        return {}
    lines = path.read_text().splitlines(keepends=True)
    return {
        int(number): float(delay)
        for number, delay in (line.split() for line in lines if line.endswith("\n"))
    }


def compare(found: dict[int, float], begun: int, ended: int) -> None:
    """Set the delays during the hang beside those before it, without the first moment, when things
    start up.
    """
    before = [found[number] for number in range(begun // 4, begun)]
    during = [found[number] for number in range(begun, ended)]
    assert median(during) <= FACTOR * median(before) + NOISE_S
    assert quantiles(during, n=20)[-1] <= FACTOR * quantiles(before, n=20)[-1] + NOISE_S
