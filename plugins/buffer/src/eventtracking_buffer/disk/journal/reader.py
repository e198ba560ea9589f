"""Reads the files of the journal: records of one file, and events for a lane."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from eventtracking import Event
from eventtracking_buffer import codec
from eventtracking_buffer.delivery.queue import QueuedEvent
from eventtracking_buffer.disk.gates import files
from eventtracking_buffer.disk.journal.records import (
    EVENT,
    HEADER_BYTES,
    Record,
    claimed_bytes,
    count_events,
    read_records,
)

__all__ = ["Found", "JournalReader", "RecentEvents", "decode", "is_abandoned", "stub"]

_RAW_BYTES: Final = 64 << 10
_READ_BYTES: Final = 256 << 10
_COUNT_BYTES: Final = 4 << 20
_SETTLED_S: Final = 1.0
_PASSING: Final = frozenset([errno.ENOENT, errno.EMFILE, errno.ENFILE, errno.ENOMEM])
"""Errors that say nothing about a file that is there."""
_MAX_RECENT_BYTES: Final = 16_000_000
_EVENT_BYTES: Final = 1_000
_OBJECTS: Final = 4
"""Objects take about so many times the bytes of their stored form."""


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
            if found and self.offset >= file_bytes:
                return
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


class Found:
    """The finds of one `take` in the journal."""

    def __init__(self, max_events: int, max_bytes: int, recent: RecentEvents) -> None:
        self.items: list[QueuedEvent] = []
        self.lost: list[QueuedEvent] = []
        """Damaged."""
        self.later: list[QueuedEvent] = []
        """In the form of a later version."""
        self._max_events, self._left_bytes = max_events, max_bytes
        self._recent = recent

    def read(
        self,
        reader: JournalReader,
        pass_over: Callable[[JournalReader, Record, Found], None],
        set_aside: Callable[[str, Record, codec.FormatError], None],
    ) -> bool:
        """Read a file on until there is enough; return whether more is wanted.

        Args:
            pass_over: Called for a record that is damaged, or of another kind.
            set_aside: Called for a whole record whose event cannot be decoded.
        """
        for record in reader.read():
            size = record.end - record.start
            count = len(self.items) + len(self.lost) + len(self.later)
            if count >= self._max_events or (count and size > self._left_bytes):
                return False
            if record.kind != EVENT:
                pass_over(reader, record, self)
                reader.advance(record)
                continue
            self._left_bytes -= size
            item = decode(reader.name, record, self._recent)
            if isinstance(item, QueuedEvent):
                self.items.append(item)
            elif item.version is not None and item.version > codec.VERSION:
                self.later.append(stub(reader.name, record.start, record))
            else:
                set_aside(reader.name, record, item)
                self.lost.append(stub(reader.name, record.start, record))
            reader.advance(record)
        return True


def decode(
    file: str, record: Record, recent: RecentEvents | None = None
) -> QueuedEvent | codec.FormatError:
    """Return the event in a whole record, or why it cannot be read."""
    key = file, record.start
    try:
        event = (recent and recent.get(record.payload)) or codec.decode(record.payload)
    except codec.FormatError as error:
        return error
    return QueuedEvent(key, event, len(record.payload), record.stored_at)


def stub(file: str, start: int, record: Record, event_id: str = "") -> QueuedEvent:
    """Stand in for an event that this version cannot read; its bytes are kept as they are."""
    event = Event(id=event_id or f"unreadable:{file}:{start}", name="unreadable")
    item = QueuedEvent((file, start), event, len(record.payload), record.stored_at)
    item.raw = record.payload
    return item


class RecentEvents:
    """Remembers events by their stored bytes, so that a wrong one is never found.

    Two generations: when the young one has half of the bytes it becomes the old one, and the old
    one is forgotten. Each step is one assignment, safe on any thread and in a signal handler.

    Args:
        once: Whether an event is asked for once, and forgotten then.
    """

    def __init__(self, once: bool, max_bytes: int = _MAX_RECENT_BYTES) -> None:
        self._once = once
        self._max_bytes = max_bytes // 2
        self._young: dict[bytes, Event] = {}
        self._old: dict[bytes, Event] = {}
        self._young_bytes = 0

    def put(self, payload: bytes, event: Event) -> None:
        """Remember an event that decoding its bytes would give."""
        size = _EVENT_BYTES + _OBJECTS * len(payload)
        if size > self._max_bytes:
            return
        if self._young_bytes + size > self._max_bytes:
            self._old, self._young, self._young_bytes = self._young, {}, 0
        self._young_bytes += size
        self._young[payload] = event

    def get(self, payload: bytes) -> Event | None:
        """Return the event of these bytes, if it is remembered."""
        if self._once:
            return self._young.pop(payload, None) or self._old.pop(payload, None)
        return self._young.get(payload) or self._old.get(payload)

    def clear(self) -> None:
        """Forget all of them."""
        self._young, self._old, self._young_bytes = {}, {}, 0
