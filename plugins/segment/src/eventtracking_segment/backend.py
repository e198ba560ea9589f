"""The backend that sends events to Segment."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Final, Literal

import attrs
import msgspec

from eventtracking import DeliveryError, Event, OptionsError, Rejected
from eventtracking_segment._message import Message, Unsendable, batches, message_for

if TYPE_CHECKING:
    from eventtracking_segment._request import Sender

__all__ = ["SegmentBackend"]

_BARE_URL: Final = re.compile(r"https?://[^/?#@\s]+(/[^?#@\s]*)?")

_Text = Annotated[str, msgspec.Meta(min_length=1)]
_Url = Annotated[str, msgspec.Meta(pattern="^https?://[^/]")]


@attrs.define(eq=False)
class SegmentBackend:
    """Send events to Segment as `track` messages, in acknowledged batches.

    `send` returns when Segment has accepted every message. It holds nothing: the caller keeps the
    events until then, on disk if a `buffer` stands above. The event's id is the message id, by
    which Segment drops what it gets twice, so a batch of which only a part was accepted may be sent
    again as a whole.

    It has no lock and no thread, and several threads may send at once. The client is imported when
    it is opened.
    """

    blocking: ClassVar[bool] = True

    write_key: _Text | None = attrs.field(
        default=None,
        repr=False,
        metadata={
            "help": (
                "The write key of the source. None: `segment.analytics.write_key`, as it is at the"
                " time of sending."
            )
        },
    )
    host: _Url | None = attrs.field(
        default=None,
        metadata={
            "help": (
                "The URL of the API. None: `segment.analytics.host`, else https://api.segment.io."
            )
        },
    )
    timeout_s: Annotated[float, msgspec.Meta(gt=0)] = attrs.field(
        default=10.0,
        metadata={
            "help": (
                "How long one `send` may take, in seconds: all its requests, retries and pauses."
            )
        },
    )
    max_retries: Annotated[int, msgspec.Meta(ge=0)] = attrs.field(
        default=2,
        metadata={
            "help": (
                "How often a request is tried again after 429, 5xx or a lost connection, within"
                " `timeout_s`."
            )
        },
    )
    send_as: Literal["event", "data"] = attrs.field(
        default="event",
        metadata={"help": "What goes out as properties: the whole event, or only its data."},
    )
    anonymous_id_keys: list[str] = attrs.field(
        factory=lambda: ["session_id", "session"],
        metadata={
            "help": (
                "Where in the context to find an anonymous id for an event without a `user_id`; the"
                " first wins."
            )
        },
    )
    gzip: bool = attrs.field(default=True, metadata={"help": "Whether to compress the requests."})

    def __attrs_post_init__(self) -> None:
        if self.host is not None and not _BARE_URL.fullmatch(self.host):
            # told of `write_key`, which is secret, so that the text of `host` is not shown
            raise OptionsError(
                {
                    "write_key": (
                        "`host` holds a user or a query: give it as https://host/path, and the key"
                        " as `write_key`"
                    )
                }
            )

    def open(self) -> None:
        """Make the client ready in this process.

        No connection is made: there is nothing to find out without an event.
        """
        from eventtracking_segment import _request

        _request.prepare()

    def send(self, events: Sequence[Event]) -> None:
        """Send the events in as few requests as Segment's limits allow.

        Raises:
            Rejected: For events without a user or an anonymous id, over 32 KB, or which Segment
                cannot read; it has the rest.
            DeliveryError: If Segment could not be reached, did not answer in time, asked to wait
                longer than there is time, failed, or refused the write key. It may have some of
                them, and takes none twice.
        """
        reasons: dict[str, str] = {}
        messages = self._messages(events, reasons)
        if messages:
            sender = self._sender()
            for batch in batches(messages):
                _send_readable(sender, batch, reasons)
        if reasons:
            raise Rejected(reasons)

    def _messages(self, events: Sequence[Event], reasons: dict[str, str]) -> list[Message]:
        messages = []
        for event in events:
            try:
                messages.append(message_for(event, self.anonymous_id_keys, self.send_as == "event"))
            except Unsendable as verdict:
                reasons[event.id] = str(verdict)
        return messages

    def _sender(self) -> Sender:
        from eventtracking_segment import _request

        write_key = self.write_key or _request.global_write_key()
        if not write_key:
            raise DeliveryError(
                "segment has no write key; set the option `write_key`, or"
                " `segment.analytics.write_key`"
            )
        return _request.Sender(
            write_key=write_key,
            host=self.host or _request.global_host(),
            gzip=self.gzip,
            max_retries=self.max_retries,
            timeout_s=self.timeout_s,
        )


def _send_readable(sender: Sender, batch: Sequence[Message], reasons: dict[str, str]) -> None:
    """Send a batch; if Segment cannot read it, halve it until the messages at fault are found.

    One of n costs about 2 log2 n requests, and all of n less than 2 n; the sender's deadline ends
    it in any case.
    """
    from eventtracking_segment._request import Refused

    waiting = [batch]
    while waiting:
        part = waiting.pop()
        try:
            sender.send([message.body for message in part])
        except Refused as refusal:
            if len(part) == 1:
                reasons[part[0].event_id] = f"Segment cannot read it (HTTP {refusal.status})"
            else:
                middle = len(part) // 2
                waiting += [part[middle:], part[:middle]]
