"""Reads the files of the journal."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from eventtracking_buffer.disk.gates import files
from eventtracking_buffer.disk.journal.files import is_abandoned, open_to_read
from eventtracking_buffer.disk.journal.records import (
    EVENT,
    HEADER_BYTES,
    Record,
    claimed_bytes,
    count_events,
    read_records,
)

__all__ = ["JournalReader"]

_RAW_BYTES: Final = 64 << 10
_READ_BYTES: Final = 256 << 10
_COUNT_BYTES: Final = 4 << 20
_SETTLED_S: Final = 1.0
_PASSING: Final = frozenset([errno.ENOENT, errno.EMFILE, errno.ENFILE, errno.ENOMEM])
"""Errors that say nothing about a file that is there."""


class JournalReader:
    """Reads one file of the journal from a place on.

    For one thread. The file is open only while it reads.
    """

    def __init__(self, path: Path, offset: int = 0, records: int = 0) -> None:
        self.path = path
        self.name = path.name
        self.offset = offset
        """Everything before has been read."""
        self.records = records
        """How many events were before it."""
        self._final_size: int | None = None
        self.damaged_to = -1
        """Where the last damaged piece ended: one that starts there belongs to it."""

    @property
    def unread(self) -> int:
        """Bytes behind the place."""
        try:
            return max(self.size() - self.offset, 0)
        except FileNotFoundError:
            return 0

    def size(self) -> int:
        """Return how many bytes the file has.

        Raises:
            FileNotFoundError: If it is gone.
        """
        if self._final_size is not None:
            return self._final_size
        return os.stat(self.path).st_size  # noqa: PTH116 - quicker, and polled

    @property
    def is_final(self) -> bool:
        """Whether no process appends to the file any more; it is asked about once a look."""
        if self._final_size is None and is_abandoned(self.path):
            try:
                self._final_size = self.size()
            except FileNotFoundError:
                self._final_size = self.offset
        return self._final_size is not None

    @property
    def was_final(self) -> bool:
        """Whether it is known that the file does not grow, without asking the system."""
        return self._final_size is not None

    def vanish(self) -> None:
        """Take note that the file was deleted: nothing behind the place can be read."""
        self._final_size = self.offset

    def read(self) -> Iterator[Record]:
        """Yield what is there: nothing, as long as the file cannot be read.

        The caller says with `advance` how far it has come.

        Raises:
            OSError: If the file is gone, or the system is out of something for the moment.
        """
        size = _READ_BYTES
        while True:
            data, file_bytes = self._piece(size)
            found = False
            for record in read_records(data, self.offset, file_bytes, self._is_settled):
                found = True
                yield record
            wanted = claimed_bytes(data)
            if not found and (len(data) < size or wanted <= size):
                return
            size = _READ_BYTES if found else wanted

    def _is_settled(self) -> bool:
        """Whether nobody is just writing the end of the file: a part of what one call writes can be
        seen before the rest.
        """
        return is_abandoned(self.path) or time.time() - os.stat(self.path).st_mtime > _SETTLED_S  # noqa: PTH116 - as above

    def advance(self, record: Record) -> None:
        """Move on behind a record."""
        self.offset = record.end
        if not record.is_whole:
            self.damaged_to = record.end
        self.records += record.kind == EVENT

    def count(self) -> None:
        """Move on to the end of the last whole record, and only count the events.

        Raises:
            OSError: As `read` does.
        """
        count = -1
        while count:
            count, size = count_events(self._piece(_COUNT_BYTES)[0])
            self.records += count
            self.offset += size
        for record in self.read():
            self.advance(record)

    def raw_at(self, offset: int) -> bytes:
        """Return what stands where a record was."""
        try:
            return self._pread(_RAW_BYTES, offset)[0]
        except OSError:
            return b""

    def peek(self) -> Record | None:
        """Return the next record, if it is whole and in its place."""
        return self.record_at(self.offset)

    def rest(self) -> bytes:
        """Return what is behind the last whole record, or the beginning of it.

        Raises:
            OSError: If it cannot be read.
        """
        size = min(self.unread, _RAW_BYTES)
        return self._pread(size, self.offset)[0] if size else b""

    def skip(self, count: int) -> None:
        """Move on without reading."""
        self.offset += count

    def record_at(self, offset: int) -> Record | None:
        """Read one record again; None if it is damaged now, or the file is gone.

        Raises:
            OSError: If it cannot be read for another reason, which says nothing about the record.
        """
        try:
            head, file_bytes = self._pread(HEADER_BYTES, offset)
            length = min(claimed_bytes(head), max(file_bytes - offset, 0))
            data, _ = self._pread(length, offset)
        except FileNotFoundError:
            return None
        record = next(read_records(data, offset), None)
        if record is None or not record.kind:  # its length may be false: read as it was first read
            record = next(JournalReader(self.path, offset).read(), None)
        return record if record is not None and record.kind and record.start == offset else None

    def _piece(self, size: int) -> tuple[bytes, int]:
        """Read from the place on; nothing, as long as the file cannot be read."""
        try:
            return self._pread(size, self.offset)
        except OSError as error:
            if error.errno in _PASSING:
                raise
            return b"", self.offset

    def _pread(self, size: int, offset: int) -> tuple[bytes, int]:
        """Read a piece of the file. Return how long the file is, too."""
        with files.lock:
            descriptor = open_to_read(self.path)
            try:
                return os.pread(descriptor, size, offset), os.fstat(descriptor).st_size
            finally:
                os.close(descriptor)
