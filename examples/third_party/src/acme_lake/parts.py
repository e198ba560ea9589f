"""The files: an open part grows line by line; a finished one has a name that its events decide.

`_open/PARTITION/…jsonl` is open, and locked by its process. `PARTITION/part-DIGEST.jsonl` (or
`.parquet`) is finished. The digest is that of the ids, so finishing a part twice, after a crash in
the middle, makes one file.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import time
import uuid
from collections.abc import Iterator, Sequence
from datetime import datetime
from io import FileIO
from pathlib import Path
from typing import Any
from urllib.parse import quote

import attrs

from eventtracking import Event

OPEN = "_open"
_MAX_NAME_CHARS = 100


def partition_of(event: Event, name_key: str = "") -> str:
    """Return the folder of an event: `date=2026-11-28/name=course.enrolled`."""
    name = quote(event.name, safe="", errors="replace")
    if name_key:
        name = hmac.new(name_key.encode(), name.encode(), hashlib.sha256).hexdigest()[:32]
    elif len(name) > _MAX_NAME_CHARS:
        name = f"{name[:_MAX_NAME_CHARS]}-{hashlib.sha256(name.encode()).hexdigest()[:16]}"
    return f"date={event.timestamp:%Y-%m-%d}/name={name}"


@attrs.define(eq=False)
class OpenPart:
    """A file that grows. Its lock tells other processes that this one still writes."""

    root: Path
    partition: str
    path: Path
    file: FileIO
    rows: int = 0
    size_bytes: int = 0
    began: float = attrs.field(factory=time.monotonic)

    @classmethod
    def create(cls, root: Path, partition: str) -> OpenPart:
        """Start a new file and lock it."""
        folder = root / OPEN / partition
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{uuid.uuid4()}.jsonl"
        file = path.open("xb", buffering=0)
        fcntl.flock(file, fcntl.LOCK_EX)
        return cls(root, partition, path, file)

    def append(self, events: Sequence[Event]) -> None:
        """Write whole lines, or none of them."""
        lines = b"".join(event.to_json().encode() + b"\n" for event in events)
        if self.file.write(lines) != len(lines):
            self.file.truncate(self.size_bytes)
            self.file.seek(self.size_bytes)
            raise OSError("the disk is full")
        self.rows += len(events)
        self.size_bytes += len(lines)

    def finish(self, form: str) -> None:
        """Turn it into a finished part."""
        _finish(self.root, self.partition, self.path, form)
        self.file.close()


def adopt(root: Path, form: str) -> None:
    """Finish what processes that are no more have left open."""
    for path in sorted((root / OPEN).rglob("*.jsonl")):
        with path.open("r+b") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:  # its process lives
                continue
            if path.exists():  # another process may have been quicker
                _finish(root, str(path.parent.relative_to(root / OPEN)), path, form)


def _finish(root: Path, partition: str, path: Path, form: str) -> None:
    rows = {row["id"]: row for row in _rows(path)}  # an event that came twice is one row
    if rows:
        digest = hashlib.sha256("\n".join(sorted(rows)).encode()).hexdigest()[:24]
        place = root / partition / f"part-{digest}.{form}"
        place.parent.mkdir(parents=True, exist_ok=True)
        unfinished = place.with_suffix(f".{uuid.uuid4()}.tmp")
        _write(unfinished, list(rows.values()), form)
        unfinished.replace(place)
    path.unlink()


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):  # a process that was killed may leave half a line
                yield json.loads(line)


def _write(path: Path, rows: list[dict[str, Any]], form: str) -> None:
    if form == "jsonl":
        text = "".join(json.dumps(row, separators=(",", ":")) + "\n" for row in rows)
        path.write_text(text, encoding="ascii")
        return
    import pyarrow as pa
    from pyarrow import parquet

    known = {"id", "name", "timestamp", "context", "data"}
    columns = {
        "id": [row["id"] for row in rows],
        "name": [row["name"] for row in rows],
        "timestamp": [
            datetime.fromisoformat(row["timestamp"].replace("Z", "+00:00")) for row in rows
        ],
        "context": [json.dumps(row["context"]) for row in rows],
        "data": [json.dumps(row["data"]) for row in rows],
        "extra": [json.dumps({k: v for k, v in row.items() if k not in known}) for row in rows],
    }
    kinds = {"timestamp": pa.timestamp("us", tz="UTC")}
    schema = pa.schema([(name, kinds.get(name, pa.string())) for name in columns])
    parquet.write_table(pa.table(columns, schema=schema), path)
