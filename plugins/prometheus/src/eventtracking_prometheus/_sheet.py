"""The sheet: the counts of one process, or of one store, in a file.

Two lines of JSON and a row of 64-bit integers. The first line, the layout, says which number is
which; processes of one config have the same layout, so their rows add up as whole integers, without
a look at each number. The second line holds the facts that are not added up.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import msgspec

__all__ = [
    "FORMAT",
    "NUMBERS",
    "SHEET_SUFFIX",
    "Layout",
    "Notes",
    "Sheet",
    "read",
    "unpack",
    "write",
]

FORMAT: Final = 1
SHEET_SUFFIX: Final = ".sheet"
NUMBERS: Final = (
    "received",
    "delivered",
    "filtered",
    "failed",
    "dead_lettered",
    "pending",
    "dead_lettered_total",
    "bytes",
    "capacity_bytes",
)
"""The numbers of each route, in the order in which they stand."""
_BYTES: Final = 8
_MAX: Final = (1 << 62) - 1


class Layout(msgspec.Struct, frozen=True):
    """Says which number of the row is which: those of routes, of reasons, of histograms."""

    tracker: str
    routes: tuple[str, ...]
    reasons: tuple[tuple[str, str], ...] = ()
    """A route and a text, such as `failed: OSError`."""
    histograms: tuple[str, ...] = ()
    """The routes whose batches were measured."""
    width: int = 0
    """The numbers of each histogram."""
    format: int = FORMAT

    @property
    def length(self) -> int:
        """How many numbers the row has."""
        rows = len(self.routes) * len(NUMBERS) + len(self.reasons)
        return rows + len(self.histograms) * self.width


class Notes(msgspec.Struct):
    """The facts that are not added up."""

    pid: int = 0
    version: str = ""
    oldest_s: dict[str, float] = msgspec.field(default_factory=dict)
    """How long the oldest pending event waits, by route."""


class Sheet(msgspec.Struct):
    """A sheet as it was read: the row is one integer still."""

    layout: bytes
    notes: Notes
    row: int


_notes_decoder: Final = msgspec.json.Decoder(Notes)


def write(path: Path, layout: Layout, notes: Notes, numbers: Iterable[int]) -> None:
    """Replace a sheet, whole.

    Raises:
        OSError: If the file system refuses.
    """
    row = b"".join(min(max(number, 0), _MAX).to_bytes(_BYTES, "little") for number in numbers)
    lines = (msgspec.json.encode(layout), msgspec.json.encode(notes), row)
    beside = path.with_suffix(".new")
    beside.write_bytes(b"\n".join(lines))
    beside.replace(path)


def read(path: str) -> Sheet | None:
    """Read a sheet; None if it is gone, or of a format that this version does not know."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            content = os.read(fd, os.fstat(fd).st_size)
        finally:
            os.close(fd)
        layout, notes, row = content.split(b"\n", 2)
        return Sheet(layout, _notes_decoder.decode(notes), int.from_bytes(row, "little"))
    except (OSError, ValueError):
        return None


def layout_of(sheet: Sheet) -> Layout | None:
    """Decode a layout; None if this version does not know its format."""
    try:
        layout = msgspec.json.decode(sheet.layout, type=Layout)
    except ValueError:
        return None
    known = layout.format == FORMAT
    return layout if known else None


def unpack(row: int, length: int) -> tuple[int, ...]:
    """Take a row apart into its numbers."""
    if row.bit_length() > length * _BYTES * 8:
        return (0,) * length
    content = row.to_bytes(length * _BYTES, "little")
    return tuple(memoryview(content).cast("q"))


def by_layout(sheets: Iterable[Sheet]) -> Mapping[bytes, int]:
    """Add up the rows that have the same layout."""
    total: dict[bytes, int] = {}
    for sheet in sheets:
        total[sheet.layout] = total.get(sheet.layout, 0) + sheet.row
    return total
