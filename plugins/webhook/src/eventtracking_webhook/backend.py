"""The backend that posts events to an HTTP endpoint."""

from __future__ import annotations

import gzip
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, ClassVar

import attrs
import msgspec
import urllib3
from urllib3.util import Url, make_headers

from eventtracking import DeliveryError, Event, OptionsError, Rejected, Undelivered, forks
from eventtracking.errors import MAX_PAUSE_S
from eventtracking_webhook._http import Client, credentials_of, proxy_for, read_url
from eventtracking_webhook._message import Answer, Format, Verdict, decoded, problems_of, written

__all__ = ["WebhookBackend"]

_Count = Annotated[int, msgspec.Meta(ge=1)]
_Seconds = Annotated[float, msgspec.Meta(gt=0, le=3600)]


def _help(text: str) -> dict[str, str]:
    return {"help": text}


@attrs.define(eq=False)
class WebhookBackend:
    """Post batches of events to a URL, signed as Standard Webhooks describes.

    `send` returns when the server has answered 2xx. It holds nothing: the caller keeps the events
    until then, on disk if a `buffer` stands above. Threads share one pool of connections, which
    `open` makes; a forked child makes its own.
    """

    blocking: ClassVar[bool] = True

    url: str = attrs.field(repr=False, metadata=_help("The address; may hold user and query."))
    headers: dict[str, str] = attrs.field(
        factory=dict, repr=False, metadata=_help("Further headers, such as Authorization.")
    )
    format: Format = attrs.field(
        default="json", metadata=_help("An array, lines, one CloudEvent, or an array of these.")
    )
    source: Annotated[str, msgspec.Meta(min_length=1)] = attrs.field(
        default="eventtracking", metadata=_help("`source` of each CloudEvent, a URI reference.")
    )
    signing_secrets: list[str] = attrs.field(
        factory=list, repr=False, metadata=_help("Standard Webhooks secrets; each of them signs.")
    )
    gzip: bool = attrs.field(default=False, metadata=_help("Whether to compress the requests."))
    max_batch_events: _Count = attrs.field(default=100, metadata=_help("Most events per request."))
    max_batch_bytes: _Count = attrs.field(
        default=1_000_000, metadata=_help("Most bytes per request; a larger event goes alone.")
    )
    connect_timeout_s: _Seconds = attrs.field(default=5.0, metadata=_help("For connecting."))
    read_timeout_s: _Seconds = attrs.field(default=10.0, metadata=_help("For the next byte."))
    timeout_s: _Seconds = attrs.field(default=30.0, metadata=_help("For one `send` in all."))
    proxy: str | None = attrs.field(
        default=None, repr=False, metadata=_help("URL. None: the environment's. Empty: none.")
    )
    ca_file: Path | None = attrs.field(default=None, metadata=_help("PEM file of CAs to trust."))
    _url: Url = attrs.field(init=False, repr=False)
    _keys: tuple[bytes, ...] = attrs.field(init=False, repr=False)
    _client: Client | None = attrs.field(init=False, repr=False, default=None)

    def __attrs_post_init__(self) -> None:
        if problems := dict(self._problems()):
            raise OptionsError(problems)
        self._url = read_url(self.url)
        self._keys = tuple(map(decoded, self.signing_secrets))
        if self.format == "cloudevents":
            self.max_batch_events = 1
        if self.ca_file is not None:
            self.ca_file = self.ca_file.expanduser().absolute()  # the process may change its folder

    def _problems(self) -> Iterator[tuple[str, str]]:
        """Check what a type cannot; no text repeats a value, each of which may be a secret."""
        proxy = ("proxy", read_url, self.proxy or "http://none")
        keys = [(f"signing_secrets[{i}]", decoded, s) for i, s in enumerate(self.signing_secrets)]
        for option, read, value in [("url", read_url, self.url), proxy, *keys]:
            try:
                read(value)
            except ValueError as error:
                yield option, str(error)
        for problem in problems_of(self.headers):
            yield "headers", problem

    def open(self) -> None:
        """Make the pool of connections, with none in it yet.

        Raises:
            DeliveryError: If `ca_file` cannot be read, or the environment's proxy is no HTTP proxy.
        """
        if self._live() is not None:
            return
        if self._client is not None:
            forks.abandon(self._client)
        self._client = Client(self._url, proxy_for(self._url, self.proxy), self.ca_file)

    def close(self) -> None:
        """Let go of the connections, which end when no `send` uses them any more.

        It takes no lock, because a signal handler may close within `send`.
        """
        if self._live() is not None:
            self._client = None

    def _live(self) -> Client | None:
        """Return the client, if this process made it."""
        client = self._client
        return client if client is not None and client.pid == os.getpid() else None

    def send(self, events: Sequence[Event]) -> None:
        """Post the events, in halves if they are too many for the server.

        Raises:
            Rejected: For events that the server refuses for good; it has the others.
            Undelivered: If it has only a part of them.
            DeliveryError: If it has none, or that is not certain.
        """
        client = self._live()
        if client is None:
            raise DeliveryError("webhook: not open in this process; call open() first")
        verdict = self._post_all(client, events)
        if len(verdict.retry) == len(events):
            raise DeliveryError(verdict.retry[events[0].id], verdict.pause_s)
        if verdict.retry:
            raise Undelivered(verdict.retry, verdict.rejected, verdict.pause_s)
        if verdict.rejected:
            raise Rejected(verdict.rejected)

    def _post_all(self, client: Client, events: Sequence[Event]) -> Verdict:
        """Post the events part by part; the first failure ends it."""
        most, deadline = self.max_batch_events, time.monotonic() + self.timeout_s
        parts = [events[start : start + most] for start in range(0, len(events), most)][::-1]
        verdict = Verdict({}, {})
        while parts:
            part = parts.pop()
            try:
                answer = self._post(client, part, deadline)
                middle = len(part) // 2
                if answer.status == 413 and middle:
                    parts += [part[middle:], part[:middle]]
                    continue
                verdict = verdict.plus(answer.verdict([e.id for e in part], client.place))
            except DeliveryError as error:
                left = [event.id for one in (part, *parts) for event in one]
                again = dict.fromkeys(left, str(error))
                return verdict.plus(Verdict(again, {}, error.retry_after_s))
        return verdict

    def _post(self, client: Client, events: Sequence[Event], deadline: float) -> Answer:
        """Post one body.

        After 410 nothing is sent: the events wait above, and a new process asks again.
        """
        if not client.is_gone:
            body, headers = written(events, self.format, self.source, self._keys)
            if self.gzip:
                body, headers["content-encoding"] = gzip.compress(body, 6, mtime=0), "gzip"
            headers |= make_headers(basic_auth=credentials_of(self._url))
            headers |= {name.lower(): value for name, value in self.headers.items()}
            timeout = urllib3.Timeout(connect=self.connect_timeout_s, read=self.read_timeout_s)
            answer = client.post(body, headers, timeout, deadline)
            if answer.status != 410:
                return answer
            client.is_gone = True
        told = f"HTTP 410 from {client.place}: it wants no more events"
        raise DeliveryError(f"{told}; none is sent until this process starts anew", MAX_PAUSE_S)
