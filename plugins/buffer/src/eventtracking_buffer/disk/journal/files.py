"""The files of the journal in their folder: which there are, and whether they are still written."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from pathlib import Path
from typing import Final

from eventtracking_buffer.disk.gates import files

__all__ = [
    "SUFFIX",
    "is_abandoned",
    "journal_bytes",
    "journal_files",
    "open_to_read",
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


def open_to_read(path: Path) -> int:
    """Open a file of the journal.

    Raises:
        OSError: If it cannot be opened, is no file, is a link, or belongs to another user.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    found = os.fstat(descriptor)
    if stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid():
        return descriptor
    os.close(descriptor)
    raise PermissionError(errno.EPERM, "no file of this user's", str(path))


def is_abandoned(path: Path) -> bool:
    """Whether it is known that no living process appends to a file.

    Its writer holds a lock, which the kernel takes back when it dies.
    """
    with files.lock:
        try:
            descriptor = open_to_read(path)
        except FileNotFoundError:
            return True
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return False
        finally:
            os.close(descriptor)
        return True
