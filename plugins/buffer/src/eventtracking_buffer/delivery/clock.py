"""The clock of a buffer.

Test libraries that freeze time replace `time.monotonic`. A wait by a frozen clock never ends, so
waits read the system's clock directly. Tests give a buffer a clock of their own.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import attrs

__all__ = ["SYSTEM", "Clock", "monotonic"]

monotonic: Callable[[], float] = time.monotonic
"""Return seconds since a fixed moment, the same for all processes of this boot."""
if hasattr(time, "clock_gettime"):  # else Windows
    monotonic = partial(time.clock_gettime, time.CLOCK_MONOTONIC)


def _time() -> float:
    return time.time()


@attrs.frozen
class Clock:
    """Where a buffer gets the time from."""

    monotonic: Callable[[], float] = monotonic
    """For delays and deadlines."""
    time: Callable[[], float] = _time
    """Seconds since 1970, for ages."""


SYSTEM = Clock()
