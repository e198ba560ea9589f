"""The backoff: how long to wait before a batch is tried again."""

from __future__ import annotations

import random

import attrs

__all__ = ["Backoff"]

_MAX_DOUBLINGS = 30


@attrs.frozen(kw_only=True)
class Backoff:
    """Exponential, with full jitter, so that batches that failed together do not come back
    together.
    """

    min_s: float
    """The longest wait after the first attempt; it doubles with each one."""
    max_s: float

    def delay_s(self, attempt: int) -> float:
        """Choose the wait after an attempt.

        Args:
            attempt: Its number, from 1.
        """
        longest = min(self.max_s, self.min_s * 2 ** min(attempt - 1, _MAX_DOUBLINGS))
        return random.uniform(0.0, longest)  # noqa: S311 - spreads load, guards nothing
