"""The envelope: the typed form of a message, checked before anything in it is used.

A message is a flat JSON object, so that any Celery application takes it with its default settings.
Everything that decides what becomes of a batch stands beside its body: a worker counts attempts
without opening a body on which another one may have died.
"""

from __future__ import annotations

import base64
import re
import time
import zlib
from typing import Annotated, Any, Final, Literal

import msgspec

from eventtracking.errors import EventTrackingError

__all__ = ["FORMAT", "BatchFormatError", "Compression", "Envelope", "pack_body"]

FORMAT: Final = 2
"""Grows when an older worker could not read the rest."""
_READABLE: Final = frozenset({1, FORMAT})
_LATEST_S: Final = 1e11  # the year 5138

_PLACE: Final = re.compile(r"(?:required field `|at `\$\.)(\w+)`")
"""The name of a field of ours, in an error of msgspec."""

Compression = Literal["none", "zlib"]
_Count = Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000)]
_Time = Annotated[float, msgspec.Meta(ge=0, le=_LATEST_S)]
_Path = Annotated[str, msgspec.Meta(max_length=10_000)]

_COMPRESSION_LEVEL: Final = 1
"""Events compress six- to tenfold at the fastest level; the others take more time than the broker
saves.
"""


class BatchFormatError(EventTrackingError, ValueError):
    """Raised for a message that this version cannot read.

    Args:
        reason: Why, in words that quote nothing of the message.
        damaged: Whether no version could read it; otherwise a later one may.
    """

    def __init__(self, reason: str, damaged: bool = False) -> None:
        super().__init__(reason, damaged)
        self.reason = reason
        self.damaged = damaged

    def __str__(self) -> str:
        return f"the batch is damaged: {self.reason}" if self.damaged else self.reason


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """A message, except that its body is still packed."""

    format: Literal[1, 2]
    tracker: _Path
    """The name under which the tracker is registered, in both processes."""
    path: _Path
    """The path of the router in the tree."""
    count: _Count
    """How many events; for logs alone."""
    attempt: _Count = 0
    """How often it was tried before."""
    lost: _Count = 0
    """How often, besides, a worker began it and was gone before it came to an end."""
    first_at: _Time = 0.0
    """When it was tried first, in seconds since 1970; 0 if it never was."""
    leaf: _Path = ""
    """For dead letters, and those that are replayed: the route where the events died."""
    died_at: _Time = 0.0
    """For dead letters: when, in seconds since 1970."""
    pauses: dict[_Path, _Time] = {}
    """Until when destinations asked for a pause, by leaf."""
    spared: dict[_Path, _Count] = {}
    """How many of the attempts were none at a leaf, because it was paused."""
    compression: Compression
    body: str

    @classmethod
    def read(cls, message: Any) -> Envelope:
        """Check a message.

        Raises:
            BatchFormatError: If it is of a later format, or is no message at all.
        """
        known = message.get("format") if isinstance(message, dict) else None
        if type(known) is int and known > FORMAT:
            raise BatchFormatError(
                f"the batch has format {known}, and this version of eventtracking-async-celery"
                f" reads {FORMAT}"
            )
        if type(known) is not int or known not in _READABLE:
            raise BatchFormatError("it has no format", damaged=True)
        try:
            return msgspec.convert(message, cls)
        except Exception as error:  # noqa: BLE001 - its text may quote the message
            found = _PLACE.search(str(error))
        place = repr(found[1]) if found else "a field"
        raise BatchFormatError(f"{place} is missing or wrong", damaged=True)

    def message(self) -> dict[str, Any]:
        """Return it as a message."""
        return msgspec.structs.asdict(self)

    @property
    def tries(self) -> int:
        """How often it was begun before."""
        return self.attempt + self.lost

    def tried(self, attempts: int = 0, lost: int = 0) -> Envelope:
        """Return it as it is after further attempts."""
        return msgspec.structs.replace(
            self,
            attempt=self.attempt + attempts,
            lost=self.lost + lost,
            first_at=self.first_at or time.time(),
        )

    def unpack_body(self, max_bytes: int) -> bytes:
        """Return the body, unpacked to at most so many bytes.

        Raises:
            BatchFormatError: If it is damaged, or larger.
        """
        try:
            raw = base64.b64decode(self.body, validate=True)
            if self.compression == "none":
                body, rest = raw, b""
            else:
                unpacking = zlib.decompressobj()
                body = unpacking.decompress(raw, max_bytes + 1)
                rest = unpacking.unconsumed_tail
        except (ValueError, zlib.error):
            raise BatchFormatError("its body cannot be unpacked", damaged=True) from None
        if rest or len(body) > max_bytes:
            raise BatchFormatError(
                f"its body has more than {max_bytes:,} bytes (option `max_unpacked_bytes`)",
                damaged=True,
            )
        return body


def pack_body(body: bytes, compression: Compression) -> str:
    """Turn a body into the text that a message carries."""
    if compression == "zlib":
        body = zlib.compress(body, _COMPRESSION_LEVEL)
    return base64.b64encode(body).decode()
