"""The answers: what becomes of the events, with a server that says, breaks off, drips or hangs."""

from __future__ import annotations

import email.utils
import time
from collections.abc import Callable
from typing import Any

import pytest

from eventtracking import DeliveryError, Event, Rejected, Undelivered
from eventtracking_testkit.samples import sample_events
from eventtracking_testkit.services import TcpProxy
from eventtracking_webhook.backend import WebhookBackend

Make = Callable[..., WebhookBackend]
LIMITED = {"timeout_s": 0.4, "connect_timeout_s": 0.3, "read_timeout_s": 0.2}


def ids(events: list[Event]) -> list[str]:
    return [event.id for event in events]


def failure(backend: WebhookBackend, events: list[Event]) -> DeliveryError:
    with pytest.raises(DeliveryError) as caught:
        backend.send(events)
    return caught.value


@pytest.mark.parametrize("status", [200, 201, 202, 204, 226])
def test_success(make: Make, endpoint: Any, status: int) -> None:
    """Each 2xx, 207 apart, says that all events are delivered; the connection is used again."""
    endpoint.tell(always={"status": status})
    backend = make()
    for _ in range(3):
        backend.send(sample_events(2))
    assert len({request["client"] for request in endpoint.requests}) == 1


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599])
def test_statuses_that_pass(make: Make, endpoint: Any, status: int) -> None:
    """The events are kept, with the pause that the server asks for."""
    endpoint.tell(answers=[{"status": status}, {"status": status, "headers": {"Retry-After": "7"}}])
    backend, events = make(), sample_events(3)
    first, second = failure(backend, events), failure(backend, events)
    assert f"HTTP {status}" in str(first)
    assert (first.retry_after_s, second.retry_after_s) == (None, 7.0)
    backend.send(events)


@pytest.mark.parametrize("form", ["http", "asctime"])
def test_retry_after_as_a_date(make: Make, endpoint: Any, form: str) -> None:
    """A date is the pause until then, in each of the forms that HTTP has for it."""
    at = time.time() + 600
    text = (
        email.utils.formatdate(at, usegmt=True) if form == "http" else time.asctime(time.gmtime(at))
    )
    endpoint.tell(always={"status": 503, "headers": {"Retry-After": text}})
    pause_s = failure(make(), sample_events(1)).retry_after_s
    assert pause_s is not None
    assert 500 < pause_s <= 600


@pytest.mark.parametrize("text", ["", "soon", "Thu, 99 Foo 2026", "9" * 400, "nan"])
def test_retry_after_that_says_nothing(make: Make, endpoint: Any, text: str) -> None:
    """Nonsense is no pause, or one that core can clamp; the events are kept in any case."""
    endpoint.tell(always={"status": 429, "headers": {"Retry-After": text}})
    failure(make(), sample_events(1))


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 409, 415, 422, 451])
def test_statuses_that_refuse(make: Make, endpoint: Any, status: int) -> None:
    """Any other 4xx rejects every event of the request."""
    endpoint.tell(always={"status": status, "body": {"echo": "s3cret"}})
    events = sample_events(3)
    with pytest.raises(Rejected) as caught:
        make().send(events)
    assert list(caught.value.reasons) == ids(events)
    assert f"HTTP {status}" in str(caught.value)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308, 304])
def test_redirects_are_not_followed(make: Make, endpoint: Any, server: Any, status: int) -> None:
    """Nothing goes to the address that a redirect names, and the events are kept."""
    elsewhere = endpoint.path + "/elsewhere"
    endpoint.tell(always={"status": status, "headers": {"Location": server.url + elsewhere}})
    assert f"HTTP {status}" in str(failure(make(), sample_events(1)))
    assert [request["path"] for request in endpoint.requests] == [endpoint.path]


# 207


def test_partial_success(make: Make, endpoint: Any) -> None:
    """The ids of the answer come again or are rejected; all others are delivered."""
    events = sample_events(5)
    again, bad = events[1].id, events[3].id
    body = {"retry": [again], "rejected": [bad], "more": 1}
    endpoint.tell(always={"status": 207, "body": body, "headers": {"Retry-After": "2"}})
    with pytest.raises(Undelivered) as caught:
        make().send(events)
    error = caught.value
    assert (list(error.retry), list(error.rejected)) == ([again], [bad])
    assert error.retry_after_s == 2.0


def test_partial_success_of_all(make: Make, endpoint: Any) -> None:
    """Empty lists say that all are delivered."""
    endpoint.tell(always={"status": 207, "body": {"retry": []}})
    make().send(sample_events(2))


def test_partial_success_that_rejects(make: Make, endpoint: Any) -> None:
    """With nothing to come again the answer is a rejection."""
    events = sample_events(3)
    endpoint.tell(always={"status": 207, "body": {"rejected": ids(events)[:1]}})
    with pytest.raises(Rejected) as caught:
        make().send(events)
    assert list(caught.value.reasons) == ids(events)[:1]


@pytest.mark.parametrize(
    "body",
    [
        "", "no JSON", "[]", "{}", '{"retry": 5}', '{"retry": [5]}', '{"retry": ["unknown"]}',
        '{"results": []}', "[" * 100_000, '{"retry": ["EVENT"], "rejected": ["EVENT"]}', "\xff",
    ],
)  # fmt: skip
def test_a_partial_success_that_tells_nothing(make: Make, endpoint: Any, body: str) -> None:
    """Where the answer does not say which events failed, all come again."""
    events = sample_events(2)
    endpoint.tell(always={"status": 207, "body": body.replace("EVENT", events[0].id)})
    assert "HTTP 207" in str(failure(make(), events))


# 413


def test_too_large_a_batch_is_halved(make: Make, endpoint: Any) -> None:
    """The batch is halved until the server takes its parts, in order, each event once."""
    endpoint.tell(most=30)
    events = sample_events(100)
    make().send(events)
    assert endpoint.sizes == [100, 50, 25, 25, 50, 25, 25]
    assert endpoint.taken == ids(events)


def test_too_large_an_event(make: Make, endpoint: Any) -> None:
    """An event that is too large by itself is rejected, the others are delivered."""
    events = sample_events(4)
    answers = [{"status": status} for status in (413, 413, 413, 200, 200)]
    endpoint.tell(answers=answers)
    with pytest.raises(Rejected) as caught:
        make().send(events)
    assert list(caught.value.reasons) == [events[0].id]
    assert endpoint.taken == ids(events)[1:]


def test_a_failure_between_halves(make: Make, endpoint: Any) -> None:
    """The halves before it are delivered, it and those behind come again, and none is asked for
    in vain.
    """
    later = {"status": 503, "headers": {"Retry-After": "3"}}
    endpoint.tell(answers=[{"status": 413}, {"status": 200}, {"status": 413}, later])
    events = sample_events(4)
    with pytest.raises(Undelivered) as caught:
        make().send(events)
    assert sorted(caught.value.retry) == ids(events)[2:]
    assert (caught.value.rejected, caught.value.retry_after_s) == ({}, 3.0)
    assert endpoint.sizes == [4, 2, 2, 1]


# 410


def test_gone(make: Make, endpoint: Any) -> None:
    """After 410 no request is made, and every event is held with the longest pause; a backend that
    is opened anew asks again.
    """
    endpoint.tell(answers=[{"status": 410}])
    backend = make()
    for _ in range(3):
        error = failure(backend, sample_events(2))
        assert error.retry_after_s == 3_600.0
        assert "HTTP 410" in str(error)
    assert len(endpoint.requests) == 1
    backend.close()
    backend.open()
    backend.send(sample_events(1))


# No answer


@pytest.mark.parametrize("manner", ["hang", "drop", "drip"])
def test_no_answer(make: Make, endpoint: Any, manner: str) -> None:
    """A server that hangs, goes away, or drips its answer ends at a time limit: the events are
    kept.
    """
    endpoint.tell(answers=[{"status": 200, "manner": manner}])
    backend, events = make(**LIMITED), sample_events(2)
    assert "no answer" in str(failure(backend, events))
    backend.send(events)


@pytest.mark.parametrize("told", [{"manner": "drip_body", "body": "x" * 100}, {"length": 50}])
def test_a_body_that_does_not_end(make: Make, endpoint: Any, told: dict[str, Any]) -> None:
    """The status says all: a body that drips, or breaks off, costs a connection and no event."""
    endpoint.tell(answers=[{"status": 200, **told}])
    backend = make(**LIMITED)
    backend.send(sample_events(1))
    backend.send(sample_events(1))
    first, second = endpoint.requests
    assert first["client"] != second["client"]


@pytest.mark.parametrize(
    "told",
    [
        {"manner": "drip_body", "body": '{"retry": []}' + " " * 100},
        {"body": '{"retry": []}', "length": 500},
        {"manner": "endless", "length": 10**12},
    ],
)
def test_a_partial_success_that_does_not_end(
    make: Make, endpoint: Any, told: dict[str, Any]
) -> None:
    """Without its whole body a 207 tells nothing, so all come again; no more of it is read than
    the limit.
    """
    endpoint.tell(answers=[{"status": 207, **told}])
    backend = make(timeout_s=1.0)
    assert "HTTP 207" in str(failure(backend, sample_events(2)))


def test_time_is_counted_over_all_requests(make: Make, endpoint: Any) -> None:
    """Halves that drip share the time of one `send`; those behind are not asked for."""
    drip = {"status": 413, "manner": "drip_body", "body": "x" * 100}
    endpoint.tell(answers=[drip] * 50)
    failure(make(timeout_s=0.5), sample_events(64))
    assert len(endpoint.requests) == 1


def test_refused_connections(make: Make, server: Any, endpoint: Any) -> None:
    """A port that refuses, and a host that has no name, keep the events."""
    with TcpProxy(target_port=server.port) as link:
        backend = make(url=f"http://127.0.0.1:{link.port}{endpoint.path}", **LIMITED)
        events = sample_events(1)
        link.refuse()
        assert "no answer" in str(failure(backend, events))
        link.black_hole()
        assert "no answer" in str(failure(backend, events))
        link.let_pass()
        backend.send(events)
        link.cut()
        backend.send(events)
    assert "no answer" in str(failure(make(url="http://no-such-host.invalid/"), events))


def test_a_server_that_does_not_read(make: Make, server: Any, endpoint: Any) -> None:
    """A large body that nobody takes ends at the time limit."""
    with TcpProxy(target_port=server.port) as link:
        link.black_hole()
        backend = make(url=f"http://127.0.0.1:{link.port}{endpoint.path}", **LIMITED)
        big = [Event(name="big", data={"text": "x" * 30_000_000})]
        assert "no answer" in str(failure(backend, big))


def test_closed(make: Make) -> None:
    """Before `open` and after `close` nothing is sent, and the events are kept."""
    backend = make()
    backend.close()
    assert "not open" in str(failure(backend, sample_events(1)))
