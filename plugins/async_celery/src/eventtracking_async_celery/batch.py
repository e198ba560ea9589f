"""The batch: the events of one task, where they go, and how far they have come.

In a message all of it but the counts is one binary text: msgpack of what
`eventtracking_buffer.codec` makes of each event, compressed, in base64. Types survive, nothing is
pickled, and there is no place for a config or a credential.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import attrs
import msgspec

from eventtracking import Event
from eventtracking.counts import Outcome
from eventtracking.standing import Standing, from_names, groups_over, to_names
from eventtracking_async_celery.envelope import (
    FORMAT,
    BatchFormatError,
    Compression,
    Envelope,
    pack_body,
)
from eventtracking_buffer import codec

__all__ = ["MAX_UNPACKED_BYTES", "Batch", "Verdicts"]

MAX_UNPACKED_BYTES: Final = 64_000_000
"""Default limit of an unpacked body."""

Verdicts = dict[str, str]
"""Why each event died, by its id."""

_Body = tuple[list[bytes], dict[str, dict[str, int | str]], dict[str, str]]
_read_body = msgspec.msgpack.Decoder(_Body).decode
_write_body = msgspec.msgpack.Encoder().encode


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
    progress: Mapping[str, Standing] = attrs.field(factory=dict)
    """What became of each event so far, by event id and path. Empty at first."""
    dead: Verdicts = attrs.field(factory=dict)
    """For dead letters: why, by event id."""
    leaf: str = ""
    """For dead letters, and those that are replayed: the route where the events died."""
    died_at: float = 0.0
    """For dead letters: when, in seconds since 1970."""
    pauses: Mapping[str, float] = attrs.field(factory=dict)
    """Until when destinations asked for a pause, by leaf."""
    spared: Mapping[str, int] = attrs.field(factory=dict)
    """How many of the attempts were none at a leaf, because it was paused."""

    @property
    def tries(self) -> int:
        """How often it was begun before."""
        return self.attempt + self.lost

    def pending_leaves(self) -> set[str]:
        """Where some of its events have been tried without success."""
        return {
            path
            for standing in self.progress.values()
            for path, outcome in standing.items()
            if outcome is Outcome.PENDING
        }

    def part(self, events: Sequence[Event]) -> Batch:
        """Return a batch of some of its events."""
        ids = {event.id for event in events}
        return attrs.evolve(
            self,
            events=events,
            progress={key: known for key, known in self.progress.items() if key in ids},
            dead={key: reason for key, reason in self.dead.items() if key in ids},
        )

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
        return self.pack_encoded([codec.encode(event) for event in self.events], compression)

    def pack_encoded(self, encoded: Collection[bytes], compression: Compression) -> dict[str, Any]:
        """Turn it into a message with events that are encoded already."""
        progress = {key: to_names(standing) for key, standing in self.progress.items()}
        body = _write_body((encoded, progress, self.dead))
        return Envelope(
            format=FORMAT,
            tracker=self.tracker,
            path=self.path,
            count=len(encoded),
            attempt=self.attempt,
            lost=self.lost,
            first_at=self.first_at,
            leaf=self.leaf,
            died_at=self.died_at,
            pauses=dict(self.pauses),
            spared=dict(self.spared),
            compression=compression,
            body=pack_body(body, compression),
        ).message()

    @classmethod
    def unpack(cls, message: Any, max_bytes: int = MAX_UNPACKED_BYTES) -> Batch:
        """Read a message.

        Raises:
            BatchFormatError: If it, or an event in it, has another format, or is damaged.
        """
        return cls.open(Envelope.read(message), max_bytes)

    @classmethod
    def open(cls, envelope: Envelope, max_bytes: int = MAX_UNPACKED_BYTES) -> Batch:
        """Read the body of a message.

        Raises:
            BatchFormatError: If it, or an event in it, has another format, or is damaged.
        """
        body = envelope.unpack_body(max_bytes)
        try:
            encoded, progress, dead = _read_body(body)
            events = {event.id: event for event in map(codec.decode, encoded)}
            standings = {
                key: _without_groups(from_names(progress[key]), envelope)
                for key in events
                if key in progress
            }
        except codec.FormatError as error:
            if error.version is None or error.version < codec.VERSION:
                raise BatchFormatError("an event of it cannot be read", damaged=True) from None
            raise BatchFormatError(_EVENT_FORMAT.format(error.version)) from None
        except Exception:  # noqa: BLE001 - whatever it is, it may quote the message
            raise BatchFormatError("its body cannot be read", damaged=True) from None
        if not events or len(events) != len(encoded):
            raise BatchFormatError("it has no events, or one twice", damaged=True)
        return cls(
            tracker=envelope.tracker,
            path=envelope.path,
            events=list(events.values()),
            attempt=envelope.attempt,
            lost=envelope.lost,
            first_at=envelope.first_at,
            progress=standings,
            dead={key: dead[key] for key in events if key in dead},
            leaf=envelope.leaf,
            died_at=envelope.died_at,
            pauses=envelope.pauses,
            spared=envelope.spared,
        )


_EVENT_FORMAT: Final = "an event of it has format {}, and this version reads " + str(codec.VERSION)


def _without_groups(standing: Standing, envelope: Envelope) -> Standing:
    """Leave out the groups whose leaves tell it themselves; format 1 had these, too."""
    if envelope.format != 1:
        return standing
    over = {group for path in standing for group in groups_over(path, envelope.path)}
    return {path: outcome for path, outcome in standing.items() if path not in over}


def _only_at(leaf: str, known: Standing) -> Standing:
    over = {
        path: Outcome.FILTERED if outcome is Outcome.PENDING else outcome
        for path, outcome in known.items()
    }
    return {**over, leaf: Outcome.PENDING}
