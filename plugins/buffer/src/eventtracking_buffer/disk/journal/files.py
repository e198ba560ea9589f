"""The files of the journal in their folder."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

__all__ = [
    "SUFFIX",
    "journal_bytes",
    "journal_files",
    "unusable_files",
]

SUFFIX: Final = ".journal"


def journal_files(folder: Path) -> list[str]:
    """Return the names of the journal's files, oldest first.

    What only has such a name, as a folder has, is none.
    """
    with os.scandir(folder) as entries:
        return sorted(
            entry.name for entry in entries if entry.name.endswith(SUFFIX) and _is_ours(entry)
        )


def _is_ours(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a file of this user's, and no link: anything else may be a trap."""
    try:
        found = entry.stat(follow_symlinks=False)
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid()


def unusable_files(folder: Path) -> list[str]:
    """Return the names of what stands between the journal's files and cannot be read."""
    with os.scandir(folder) as entries:
        found = [entry for entry in entries if entry.name.endswith(SUFFIX)]
        return sorted(
            entry.name
            for entry in found
            if not _is_ours(entry) or not os.access(entry.path, os.R_OK)
        )


def journal_bytes(folder: Path) -> int:
    """Return how long the journal's files are together."""
    with os.scandir(folder) as entries:
        return sum(
            entry.stat(follow_symlinks=False).st_size
            for entry in entries
            if entry.name.endswith(SUFFIX) and _is_ours(entry)
        )
