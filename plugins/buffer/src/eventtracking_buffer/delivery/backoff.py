"""How long to wait after a failure: exponential backoff with full jitter."""

from __future__ import annotations

import random

import attrs

__all__ = ["Rest", "backoff_s"]

_MAX_DOUBLINGS = 30


@attrs.define(eq=False)
class Rest:
    """How long one leaf is left alone."""

    failures: int = 0
    """Failed deliveries in a row."""
    resume_at: float = 0.0
    """When the delay after a failure ends."""
    paused_until: float = 0.0
    """When the pause ends that its destination asked for."""


def backoff_s(failures: int, base_s: float, max_s: float) -> float:
    """Draw a delay between zero and `base_s * 2 ** (failures - 1)`, at most `max_s`.

    Args:
        failures: How many failures there were in a row, 1 or more.
        base_s: The longest delay after the first one, in seconds.
        max_s: The longest delay of all, in seconds.
    """
    doublings = min(failures - 1, _MAX_DOUBLINGS)
    return random.uniform(0.0, min(max_s, base_s * 2.0**doublings))  # noqa: S311 - it spreads load, it guards nothing
