"""The process: its trackers, and their fate at a fork and at the exit."""

from __future__ import annotations

import atexit
import os
import sys
import weakref
from typing import Final, Protocol

__all__ = ["add", "closed", "living", "opened"]


class Living(Protocol):
    """A tracker, as far as this module is concerned."""

    def close(self) -> None:
        """Release all resources."""

    def after_fork(self) -> None:
        """Start anew in a forked child."""


_living: Final[weakref.WeakSet[Living]] = weakref.WeakSet()
_unclosed: Final[set[Living]] = set()
"""Those whose backends may hold events: kept alive until they are closed, at exit at the latest."""


def add(tracker: Living) -> None:
    """Note a tracker, for as long as it exists."""
    _living.add(tracker)


def living() -> list[Living]:
    """Return every tracker of this process."""
    return list(_living)


def opened(tracker: Living) -> None:
    """Have a tracker closed at the exit of the process.

    That is done before the exit functions of the drivers that have just been imported: the last one
    runs first.
    """
    _unclosed.add(tracker)
    atexit.unregister(_close_all)
    atexit.register(_close_all)
    util = sys.modules.get("multiprocessing.util")
    if util is not None:  # the children of multiprocessing leave without the functions of atexit
        util.Finalize(None, _close_all, exitpriority=100)


def closed(tracker: Living) -> None:
    """Forget that a tracker was opened."""
    _unclosed.discard(tracker)


def _close_all() -> None:
    escaped: BaseException | None = None
    for tracker in list(_unclosed):
        try:
            tracker.close()
        except BaseException as error:  # noqa: BLE001 - it goes on when the others are closed
            escaped = error
    if escaped is not None:
        raise escaped


def _after_fork_in_child() -> None:
    for tracker in living():
        tracker.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
