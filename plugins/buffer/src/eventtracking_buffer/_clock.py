"""The clock for waits, deadlines and delays.

Test libraries that freeze time replace `time.monotonic`. A wait by a frozen clock never ends, so
waits read the system's clock directly.
"""

from __future__ import annotations

import time

__all__ = ["monotonic"]

if hasattr(time, "clock_gettime"):

    def monotonic() -> float:
        """Return seconds since a fixed moment, the same for all processes of this boot."""
        return time.clock_gettime(time.CLOCK_MONOTONIC)

else:  # pragma: no cover - Windows
    monotonic = time.monotonic
