"""The batch: what one task carries from the process that emits to a worker, and from worker to
worker.

A message is a flat JSON object, so that any Celery application takes it with its default settings.
The events in it, and how far each has come, are one binary text: msgpack of what
`eventtracking_buffer.codec` makes of each event, compressed, in base64. Types survive, nothing is
pickled, and there is no place for a config or a credential.
"""

from __future__ import annotations

import base64
import time
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import attrs
import msgspec

from eventtracking import Event
from eventtracking.counts import Outcome
from eventtracking.errors import EventTrackingError
from eventtracking.protocols import Progress
from eventtracking_buffer import codec

__all__ = ["FORMAT", "Batch", "BatchFormatError", "Compression", "Verdicts", "is_readable", "tried"]

FORMAT: Final = 1
"""Grows when an older worker could not read the rest."""

Compression = Literal["none", "zlib"]
Verdicts = dict[str, str]
"""Why each event died, by its id."""

_COMPRESSION_LEVEL: Final = 1
"""Events compress six- to tenfold at the fastest level; the others take more time than the broker
saves.
"""


class BatchFormatError(EventTrackingError, ValueError):
    """Raised for a message that this version cannot read.

    Args:
        found: What stands in the message as its format.
        damaged: Whether no version could read it.
    """

    def __init__(self, found: str, damaged: bool = False) -> None:
        super().__init__(found, damaged)
        self.found = found
        self.damaged = damaged

    def __str__(self) -> str:
        if self.damaged:
            return "the batch is damaged"
        return (
            f"the batch has format {self.found}, and this version of eventtracking-async-celery"
            f" reads {FORMAT}"
        )


@attrs.frozen(kw_only=True, eq=False)
class Batch:
    """Some events, where they go, and how far they have come."""

    tracker: str
    """The name under which the tracker is registered, in both processes."""
    path: str
    """The path of the router in the tree."""
    events: Sequence[Event]
    attempt: int = 0
    """How often it was tried before."""
    lost: int = 0
    """How often, besides, a worker began it and was gone before it came to an end."""
    first_at: float = 0.0
    """When it was tried first, in seconds since 1970; 0 if it never was."""
    progress: Progress = attrs.field(factory=dict)
    """What became of each event so far, by event id and path. Empty at first."""
    dead: Verdicts = attrs.field(factory=dict)
    """For dead letters: why, by event id."""
    leaf: str = ""
    """For dead letters, and those that are replayed: the route where the events died."""
    died_at: float = 0.0
    """For dead letters: when, in seconds since 1970."""

    @property
    def tries(self) -> int:
        """How often it was begun before."""
        return self.attempt + self.lost

    def pending_leaves(self) -> set[str]:
        """Where some of its events have been tried without success."""
        known = {
            path
            for outcomes in self.progress.values()
            for path, o in outcomes.items()
            if o is Outcome.PENDING
        }
        return known - self._groups(known)

    @staticmethod
    def _groups(paths: set[str]) -> set[str]:
        """Those of some paths that others lie below: a group stands in the progress too."""
        return {path for path in paths if any(other.startswith(f"{path}/") for other in paths)}

    def only_at(self, leaf: str, events: Sequence[Event]) -> Batch:
        """Return some of its events as a batch that is pending at one leaf, and over at the others,
        which it reached or not on its own.
        """
        return attrs.evolve(
            self,
            events=events,
            progress={
                event.id: _only_at(leaf, self.progress.get(event.id, {})) for event in events
            },
            leaf=leaf,
        )

    def pack(self, compression: Compression) -> dict[str, Any]:
        """Turn it into a message."""
        progress = {
            event_id: {path: int(o) for path, o in known.items()}
            for event_id, known in self.progress.items()
        }
        body = msgspec.msgpack.encode(
            [[codec.encode(event) for event in self.events], progress, self.dead]
        )
        if compression == "zlib":
            body = zlib.compress(body, _COMPRESSION_LEVEL)
        return {
            "format": FORMAT,
            "tracker": self.tracker,
            "path": self.path,
            "count": len(self.events),
            "attempt": self.attempt,
            "lost": self.lost,
            "first_at": self.first_at,
            "leaf": self.leaf,
            "died_at": self.died_at,
            "compression": compression,
            "body": base64.b64encode(body).decode(),
        }

    @classmethod
    def unpack(cls, message: Any) -> Batch:
        """Read a message.

        Raises:
            BatchFormatError: If it, or an event in it, has another format, or is damaged.
        """
        if not is_readable(message):
            raise BatchFormatError(_shown(message))
        try:
            return cls._read(message)
        except codec.FormatError as error:
            raise BatchFormatError(
                f"{FORMAT} with events of format {error.version}", error.version is None
            ) from error
        except Exception as error:
            raise BatchFormatError(str(FORMAT), damaged=True) from error

    @classmethod
    def _read(cls, message: Mapping[str, Any]) -> Batch:
        body = base64.b64decode(message["body"])
        if message["compression"] == "zlib":
            body = zlib.decompress(body)
        events, progress, dead = msgspec.msgpack.decode(body)
        return cls(
            tracker=message["tracker"],
            path=message["path"],
            events=[codec.decode(event) for event in events],
            attempt=message["attempt"],
            lost=message.get("lost", 0),
            first_at=message["first_at"],
            progress={
                key: {path: Outcome(o) for path, o in known.items()}
                for key, known in progress.items()
            },
            dead=dead,
            leaf=message["leaf"],
            died_at=message["died_at"],
        )


def _only_at(leaf: str, known: Mapping[str, Outcome]) -> dict[str, Outcome]:
    over = {
        path: Outcome.FILTERED if outcome is Outcome.PENDING else outcome
        for path, outcome in known.items()
    }
    groups = {path: Outcome.PENDING for path in over if leaf.startswith(f"{path}/")}
    return {**over, **groups, leaf: Outcome.PENDING}


def is_readable(message: Any) -> bool:
    """Whether a message says that it has the format of this version."""
    return isinstance(message, Mapping) and message.get("format") == FORMAT


def tried(message: Mapping[str, Any], attempts: int = 0, lost: int = 0) -> dict[str, Any]:
    """Return a message as it is after further attempts, without a look at its events, on which a
    worker may have died.
    """
    return {
        **message,
        "attempt": message.get("attempt", 0) + attempts,
        "lost": message.get("lost", 0) + lost,
        "first_at": message.get("first_at") or time.time(),
    }


def _shown(message: Any) -> str:
    """Tell a message's format without its values."""
    found = message.get("format") if isinstance(message, Mapping) else None
    return str(found) if isinstance(found, int) else "unknown"
