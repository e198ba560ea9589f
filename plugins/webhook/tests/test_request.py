"""The request: its form, its id and its signatures, read by the libraries of those standards."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_structured_event
from cloudevents.core.formats.json import JSONFormat
from standardwebhooks import Webhook, WebhookVerificationError

from eventtracking import Event, OptionsError
from eventtracking_testkit.samples import SAMPLE_DATA, sample_event, sample_events
from eventtracking_webhook.backend import WebhookBackend

Make = Callable[..., WebhookBackend]
BodyOf = Callable[[Mapping[str, Any]], bytes]


def secret() -> str:
    return "whsec_" + base64.b64encode(os.urandom(32)).decode()


def events_of_each_kind() -> list[Event]:
    extra = {"schema": "testkit.sample.event@4f1d"}
    return [sample_event(kind, extra=extra) for kind in SAMPLE_DATA]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("form", "kind", "parts"),
    [
        ("json", "application/json", json.loads),
        (
            "jsonl",
            "application/x-ndjson",
            lambda text: [json.loads(line) for line in text.split("\n")[:-1]],
        ),
    ],
)
def test_the_two_plain_forms(
    make: Make, endpoint: Any, body_of: BodyOf, form: Any, kind: str, parts: Any, packed: bool
) -> None:
    """An array, or lines that each end with a line feed, of the whole events; compressed or not."""
    events = events_of_each_kind()
    make(format=form, gzip=packed).send(events)
    (request,) = endpoint.requests
    assert request["headers"]["content-type"] == kind
    assert request["headers"].get("content-encoding") == ("gzip" if packed else None)
    assert parts(body_of(request).decode()) == [json.loads(event.to_json()) for event in events]


@pytest.mark.parametrize("batch", [False, True])
def test_cloud_events(make: Make, endpoint: Any, body_of: BodyOf, batch: bool) -> None:
    """The official SDK reads a request for each event, or each item of one request; the data is
    the whole event.
    """
    events = events_of_each_kind()
    form: Any = "cloudevents_batch" if batch else "cloudevents"
    make(format=form, source="/demo/site").send(events)
    requests = endpoint.requests
    assert len(requests) == (1 if batch else len(events))
    kind = "application/cloudevents-batch+json" if batch else "application/cloudevents+json"
    assert {r["headers"]["content-type"] for r in requests} == {f"{kind}; charset=utf-8"}
    bodies = [body_of(request) for request in requests]
    if batch:
        bodies = [json.dumps(item).encode() for item in json.loads(bodies[0])]
    headers = {"content-type": "application/cloudevents+json"}
    for event, body in zip(events, bodies, strict=True):
        found = from_structured_event(HTTPMessage(headers, body), JSONFormat())
        told = (found.get_id(), found.get_source(), found.get_type(), found.get_time())
        assert told == (event.id, "/demo/site", event.name, event.timestamp)
        assert found.get_data() == json.loads(event.to_json())


@pytest.mark.parametrize("packed", [False, True])
def test_signatures_while_keys_rotate(
    make: Make, endpoint: Any, body_of: BodyOf, packed: bool
) -> None:
    """Each secret signs, so that a receiver that knows either of them verifies the request; one
    that knows neither, and one whose body was changed, do not.
    """
    old, new = secret(), secret()
    make(signing_secrets=[new, old], gzip=packed).send(sample_events(3))
    (request,) = endpoint.requests
    text = body_of(request).decode()
    assert len(request["headers"]["webhook-signature"].split(" ")) == 2
    for known in (old, new):
        assert Webhook(known).verify(text, request["headers"]) == json.loads(text)
    with pytest.raises(WebhookVerificationError):
        Webhook(secret()).verify(text, request["headers"])
    with pytest.raises(WebhookVerificationError):
        Webhook(new).verify(text.replace("number", "numbed"), request["headers"])


def test_without_secrets_nothing_is_signed(make: Make, endpoint: Any) -> None:
    """Id and time are there in any case; a signature needs a secret."""
    make().send(sample_events(1))
    headers = endpoint.requests[0]["headers"]
    assert "webhook-signature" not in headers
    assert headers["webhook-timestamp"].isdigit()


def test_the_id_of_an_event_is_the_key(make: Make, endpoint: Any) -> None:
    """A request for one event has its id as idempotency key, however often it comes."""
    (event,) = sample_events(1)
    backend = make()
    backend.send([event])
    backend.send([event])
    ids = {(r["headers"]["webhook-id"], r["headers"]["idempotency-key"]) for r in endpoint.requests}
    assert ids == {(event.id, event.id)}


def test_the_key_of_a_batch(make: Make, endpoint: Any) -> None:
    """The same events have the same key, other events another."""
    events = sample_events(3)
    backend = make()
    for batch in (events, events, events[:2]):
        backend.send(batch)
    first, again, other = (r["headers"]["idempotency-key"] for r in endpoint.requests)
    assert first == again != other
    assert endpoint.requests[0]["ids"] == [event.id for event in events]


@pytest.mark.parametrize(
    "key", ["../..", "a/b", "nul\0", "line\r\nX-Evil: 1", "é", "a.b", "x" * 10_000, " "]
)
def test_ids_that_no_header_can_carry(make: Make, endpoint: Any, body_of: BodyOf, key: str) -> None:
    """A digest stands for them in the headers, which verify; the body keeps the id."""
    known = secret()
    make(signing_secrets=[known]).send([sample_event(id=key)])
    (request,) = endpoint.requests
    assert request["ids"] == [key]
    assert request["headers"]["webhook-id"].isalnum()
    assert "x-evil" not in request["headers"]
    Webhook(known).verify(body_of(request).decode(), request["headers"])


def test_headers(make: Make, endpoint: Any) -> None:
    """Own headers are sent, and may replace the type and the agent; a user in the URL becomes
    basic authorization.
    """
    url = endpoint.url.replace("http://", "http://us%40er:pa%3Ass@") + "?token=t0ken&x=%20#part"
    make(url=url, headers={"X-Own": "ö", "CONTENT-TYPE": "text/own"}).send(sample_events(1))
    (request,) = endpoint.requests
    headers = request["headers"]
    assert (headers["x-own"], headers["content-type"]) == ("ö", "text/own")
    basic = base64.b64encode(b"us@er:pa:ss").decode()
    assert headers["authorization"] == f"Basic {basic}"
    assert request["path"].endswith("?token=t0ken&x=%20")
    assert "us%40er" not in str(request)


@pytest.mark.parametrize(
    ("options", "place"),
    [
        ({"url": "ftp://h0st/s3cret"}, "url"),
        ({"url": "h0st/s3cret"}, "url"),
        ({"url": "http://"}, "url"),
        ({"url": "http://h0st:99999/s3cret"}, "url"),
        ({"url": "http://h0st/s3 cret"}, "url"),
        ({"url": "http://h0st/s3cret\r\n"}, "url"),
        ({"proxy": "socks5://s3cret@h0st"}, "proxy"),
        ({"signing_secrets": [secret(), "whsec_s3cret"]}, "signing_secrets[1]"),
        ({"signing_secrets": ["c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0"]}, "signing_secrets[0]"),
        ({"headers": {"X s3cret": "x"}}, "headers"),
        ({"headers": {"X:s3cret": "x"}}, "headers"),
        ({"headers": {"X-S": "s3cret\r\nX-T: y"}}, "headers"),
        ({"headers": {"X-S": "s3cret \N{SNOWMAN}"}}, "headers"),
        ({"headers": {"Webhook-Id": "s3cret"}}, "headers"),
        ({"headers": {"Content-Length": "s3cret"}}, "headers"),
    ],
)
def test_options_that_cannot_be_used(options: dict[str, Any], place: str) -> None:
    """Each is a problem at its place, without its value."""
    with pytest.raises(OptionsError) as caught:
        WebhookBackend(**{"url": "http://host/", **options})
    assert list(caught.value.problems) == [place]
    assert "s3cret" not in str(caught.value)
    assert "c2Vj" not in str(caught.value)
