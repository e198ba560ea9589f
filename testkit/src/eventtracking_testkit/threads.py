"""Run a function in many threads at once, and bring back what went wrong."""

from __future__ import annotations

import threading
from collections.abc import Callable

__all__ = ["in_threads"]


def in_threads(function: Callable[[int], None], count: int = 8, timeout_s: float = 60.0) -> None:
    """Call a function in many threads at once, each with its number.

    Raises:
        AssertionError: If one raised, or has not ended in time.
    """
    errors: list[BaseException] = []
    start = threading.Barrier(count)

    def run(number: int) -> None:
        try:
            start.wait(timeout_s)
            function(number)
        except BaseException as error:  # noqa: BLE001 - brought to the test's own thread
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout_s)
    assert not errors, f"a thread failed: {errors[0]!r}"
    assert not any(thread.is_alive() for thread in threads), f"a thread hung for {timeout_s:g} s"
