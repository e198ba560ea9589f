"""The request for some events, and the meaning of its answer for them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, Literal, NamedTuple

import msgspec
import urllib3

from eventtracking import DeliveryError, Event

__all__ = ["Answer", "Format", "Verdict", "decoded", "problems_of", "written"]

Format = Literal["json", "jsonl", "cloudevents", "cloudevents_batch"]

_CONTENT_TYPES: Final[Mapping[str, str]] = {
    "json": "application/json",
    "jsonl": "application/x-ndjson",
    "cloudevents": "application/cloudevents+json; charset=utf-8",
    "cloudevents_batch": "application/cloudevents-batch+json; charset=utf-8",
}
_PLAIN_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,255}")
"""An id that a header can carry, and that keeps the signed text unambiguous (no full stop)."""
_HEADER: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\n[\t\x20-\x7e\x80-\xff]*")
_OWN: Final = re.compile(r"webhook-.*|idempotency-key|host|connection|.*-(encoding|length)")
"""The headers that this library sets, or that frame the request."""


def decoded(secret: str) -> bytes:
    """Decode a signing secret.

    Raises:
        ValueError: If it is none. Its text does not repeat it.
    """
    with suppress(ValueError):
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
        if secret.startswith("whsec_") and 24 <= len(key) <= 64:
            return key
    raise ValueError("must be whsec_ and 24 to 64 bytes in base64, a Standard Webhooks secret")


def problems_of(headers: Mapping[str, str]) -> Iterator[str]:
    """Say which headers cannot be sent, by position: a name may be a misplaced secret."""
    for number, (name, value) in enumerate(headers.items(), start=1):
        if not _HEADER.fullmatch(f"{name}\n{value}"):
            yield f"number {number} is no header; its text must be Latin-1, on one line"
        elif _OWN.fullmatch(name.lower()):
            yield f"number {number} is set by this backend itself; leave it out"


def written(
    events: Sequence[Event], form: Format, source: str, keys: Sequence[bytes]
) -> tuple[bytes, dict[str, str]]:
    """Write the events as one body, and its headers, signatures included.

    The signatures cover the body as it is before compression: servers decompress on the way in.
    """
    body, message_id, moment = _body(events, form, source), _message_id(events), int(time.time())
    headers = {"content-type": _CONTENT_TYPES[form], "idempotency-key": message_id}
    headers |= {"webhook-id": message_id, "webhook-timestamp": str(moment)}
    headers["user-agent"] = "eventtracking-webhook"
    if keys:
        signed = f"{message_id}.{moment}.".encode() + body
        digests = [hmac.new(key, signed, hashlib.sha256).digest() for key in keys]
        signatures = [f"v1,{base64.b64encode(digest).decode()}" for digest in digests]
        headers["webhook-signature"] = " ".join(signatures)
    return body, headers


def _body(events: Sequence[Event], form: Format, source: str) -> bytes:
    if form.startswith("cloudevents"):
        found = [_cloud_event(event, source) for event in events]
        return msgspec.json.encode(found if form == "cloudevents_batch" else found[0])
    lines = [event.to_json() for event in events]
    text = "\n".join(lines) + "\n" if form == "jsonl" else f"[{','.join(lines)}]"
    return text.encode()


def _cloud_event(event: Event, source: str) -> dict[str, Any]:
    """Wrap an event as CloudEvents 1.0 does; its `data` is the whole event."""
    return {
        "specversion": "1.0",
        "id": event.id,
        "source": source,
        "type": event.name,
        "time": event.timestamp,
        "datacontenttype": "application/json",
        "data": msgspec.Raw(event.to_json().encode()),
    }


def _message_id(events: Sequence[Event]) -> str:
    """Return the event's id; for a batch, or an id that no header can carry, always the same digest
    of the ids.
    """
    ids = [event.id for event in events]
    if len(ids) == 1 and _PLAIN_ID.fullmatch(ids[0]):
        return ids[0]
    return hashlib.sha256(json.dumps(ids).encode()).hexdigest()


class Verdict(NamedTuple):
    """The events that were not delivered, and why."""

    retry: dict[str, str]
    rejected: dict[str, str]
    pause_s: float | None = None

    def plus(self, other: Verdict) -> Verdict:
        """Return it with the verdict on another part of the batch."""
        pauses = [pause for pause in (self.pause_s, other.pause_s) if pause is not None]
        retry, rejected = self.retry | other.retry, self.rejected | other.rejected
        return Verdict(retry, rejected, max(pauses, default=None))


class _Partial(msgspec.Struct):
    """The body of a 207. An id that stands in neither list is delivered."""

    retry: list[str] | None = None
    rejected: list[str] | None = None


class Answer(NamedTuple):
    """One answer, as far as it was read."""

    status: int
    retry_after: str
    body: bytes | None
    """None if it was too long, or broke off."""

    def verdict(self, ids: Sequence[str], place: str) -> Verdict:
        """Say what the answer means for the events with these ids.

        Raises:
            DeliveryError: If they are all to be sent again.
        """
        told = f"HTTP {self.status} from {place}"
        if self.status == 207:
            return self._partial(ids, told)
        if 200 <= self.status < 300:
            return Verdict({}, {})
        if self.status in (408, 425, 429) or self.status >= 500:
            raise DeliveryError(f"{told}; it may be tried again", self._pause_s())
        if self.status >= 400:
            return Verdict({}, dict.fromkeys(ids, told))
        raise DeliveryError(f"{told} is not followed; set `url` to the address that takes events")

    def _partial(self, ids: Sequence[str], told: str) -> Verdict:
        """Read a 207; one that cannot be understood brings the whole batch again."""
        found = _Partial()
        with suppress(msgspec.MsgspecError, ValueError, RecursionError):
            found = msgspec.json.decode(self.body or b"", type=_Partial)
        retry, rejected = set(found.retry or ()), set(found.rejected or ())
        if found == _Partial() or retry & rejected or not (retry | rejected).issubset(ids):
            text = f'{told} without {{"retry": [ids], "rejected": [ids]}}; all comes again'
            raise DeliveryError(text, self._pause_s())
        pause_s = self._pause_s() if retry else None
        return Verdict(dict.fromkeys(retry, told), dict.fromkeys(rejected, told), pause_s)

    def _pause_s(self) -> float | None:
        """Read `Retry-After`: seconds, or an HTTP date. None if it is neither."""
        with suppress(ValueError):
            return float(self.retry_after)
        with suppress(urllib3.exceptions.InvalidHeader, ValueError, OverflowError):
            return urllib3.Retry().parse_retry_after(self.retry_after)
        return None
