"""A cheap look at a folder: whether files came, went or were replaced since the last one."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

__all__ = ["FolderWatch"]


class FolderWatch:
    """Compares the time of a folder's last change, in one system call.

    Args:
        again_s: Report a change after so long anyway: some file systems keep no such time.
    """

    def __init__(self, folder: Path, monotonic: Callable[[], float], again_s: float) -> None:
        self._folder = folder
        self._monotonic = monotonic
        self._again_s = again_s
        self._stamp, self._again_at = 0, 0.0

    def has_changed(self) -> bool:
        """Return whether it may have changed since the last call.

        Raises:
            OSError: If it is gone.
        """
        now, stamp = self._monotonic(), os.stat(self._folder).st_mtime_ns  # noqa: PTH116 - quicker
        if stamp == self._stamp and now < self._again_at:
            return False
        # After a change once more next time: the clock of files is coarse.
        self._again_at = now if stamp != self._stamp else now + self._again_s
        self._stamp = stamp
        return True
