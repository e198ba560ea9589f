"""The backend: it appends to open files, and turns each into a part when it is full or old."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final, Literal

import attrs
import msgspec

from acme_lake.parts import OpenPart, adopt, partition_of
from eventtracking import Event, Undelivered, forks

_CLOSE_S: Final = 1.0


@attrs.define(eq=False)
class LakeBackend:
    """Store events in files by date and name: Parquet, or lines of JSON."""

    path: Annotated[str, msgspec.Meta(min_length=1)] = attrs.field(
        metadata={"help": "The folder. It is made if it is missing."}
    )
    format: Literal["jsonl", "parquet"] = attrs.field(
        default="jsonl", metadata={"help": "Lines of JSON, or Parquet (needs acme-lake[parquet])."}
    )
    max_rows: Annotated[int, msgspec.Meta(ge=1)] = attrs.field(
        default=100_000, metadata={"help": "The number of events that ends a file."}
    )
    max_bytes: Annotated[int, msgspec.Meta(ge=1)] = attrs.field(
        default=64_000_000, metadata={"help": "The size that ends a file, in bytes of JSON."}
    )
    max_age_s: Annotated[float, msgspec.Meta(gt=0)] = attrs.field(
        default=300.0, metadata={"help": "The age that ends a file, in seconds."}
    )
    name_key: str = attrs.field(
        default="",
        repr=False,
        metadata={"help": "Hide names: folders show a keyed hash of the name instead."},
    )
    _parts: dict[str, OpenPart] = attrs.field(init=False, repr=False, factory=dict)
    _lock: threading.Lock = attrs.field(init=False, repr=False, factory=threading.Lock)

    def open(self) -> None:
        """Make the folder, and finish the files that dead processes left open."""
        forks.abandon(self._parts)  # in a forked child they are the parent's
        self._parts, self._lock = {}, threading.Lock()
        Path(self.path).mkdir(parents=True, exist_ok=True)
        if self.format == "parquet":
            import pyarrow.parquet  # noqa: F401 - fails here and not at the first full file
        adopt(Path(self.path), self.format)

    def send(self, events: Sequence[Event]) -> None:
        """Append each event to the open file of its date and name."""
        by_partition: dict[str, list[Event]] = {}
        for event in events:
            by_partition.setdefault(partition_of(event, self.name_key), []).append(event)
        retry: dict[str, str] = {}
        with self._lock:
            for partition, group in by_partition.items():
                try:
                    self._append(partition, group)
                except OSError as error:  # the other partitions have theirs
                    retry.update((event.id, type(error).__name__) for event in group)
        if retry:
            raise Undelivered(retry=retry)

    def _append(self, partition: str, events: Sequence[Event]) -> None:
        part = self._parts.get(partition)
        if part is None:
            part = self._parts[partition] = OpenPart.create(Path(self.path), partition)
        part.append(events)
        if part.rows >= self.max_rows or part.size_bytes >= self.max_bytes:
            self._finish(partition)

    def _finish(self, partition: str) -> None:
        self._parts[partition].finish(self.format)
        del self._parts[partition]

    def tick(self) -> None:
        """End the files that are old. The router above calls it about once a second."""
        oldest = time.monotonic() - self.max_age_s
        with self._lock:
            for partition in [key for key, part in self._parts.items() if part.began <= oldest]:
                self._finish(partition)

    def flush(self, timeout_s: float) -> bool:
        """End every open file, so that all events can be queried.

        A signal handler may call it within `send`, which holds the lock: never wait for ever.
        """
        if not self._lock.acquire(timeout=max(timeout_s, 0.0)):
            return False
        try:
            for partition in list(self._parts):
                self._finish(partition)
        finally:
            self._lock.release()
        return True

    def close(self) -> None:
        """End every open file; one that `send` still writes is ended by the next `open`."""
        self.flush(_CLOSE_S)
