"""The backend with the real client, against a server on loopback."""

from __future__ import annotations

import gzip
import logging
import multiprocessing
import pickle
import resource
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import segment.analytics as client

from eventtracking import ConfigError, DeliveryError, Event, Rejected, Tracker
from eventtracking_segment.backend import SegmentBackend


def events_of(count: int, **data: Any) -> list[Event]:
    """Events of a user."""
    return [
        Event(name="a.b", context={"user_id": 1}, data={"number": n, **data}) for n in range(count)
    ]


def ids_of(events: list[Event]) -> list[str]:
    return [event.id for event in events]


@pytest.fixture(autouse=True)
def _no_global_settings() -> Iterator[None]:
    """Leave the client's global settings as they were."""
    before = client.write_key, client.host
    yield
    client.write_key, client.host = before


@pytest.fixture
def backend(segment: Any, write_key: str) -> SegmentBackend:
    """The backend, opened, with the server as its host."""
    made = SegmentBackend(write_key=write_key, host=segment.url, timeout_s=8)
    made.open()
    return made


def test_it_returns_when_segment_has_accepted(segment: Any, backend: SegmentBackend) -> None:
    """One compressed, authenticated request brings all events, and they are unchanged."""
    events = events_of(3)
    before = pickle.dumps(events)
    backend.send(events)
    (request,) = segment.requests
    assert request.ids == ids_of(events)
    assert request.compressed
    assert pickle.dumps(events) == before


def test_without_compression(segment: Any, write_key: str) -> None:
    """With `gzip = false` the request is plain JSON."""
    plain = SegmentBackend(write_key=write_key, host=segment.url, gzip=False)
    plain.open()
    plain.send(events_of(1))
    assert not segment.requests[0].compressed


def test_large_batches_are_split(segment: Any, backend: SegmentBackend) -> None:
    """More than 500 KB goes out as several requests, each within the limit, all events once and in
    order.
    """
    events = events_of(40, text="x" * 30_000)
    backend.send(events)
    assert [message["messageId"] for message in segment.accepted] == ids_of(events)
    assert len(segment.requests) == 3
    assert max(request.size_bytes for request in segment.requests) <= 500_000


def test_what_cannot_be_sent_is_rejected_and_the_rest_delivered(
    segment: Any, backend: SegmentBackend
) -> None:
    """An event without identity and one over 32 KB are named with their reasons."""
    good, large = events_of(2)
    large = large.replace(data={"text": "x" * 40_000})
    nobody = Event(name="a")
    with pytest.raises(Rejected) as caught:
        backend.send([nobody, good, large])
    assert caught.value.reasons == {
        nobody.id: "no user_id and no anonymous id in the context",
        large.id: "longer than the 32 KB that Segment takes",
    }
    assert [message["messageId"] for message in segment.accepted] == [good.id]


def test_nothing_to_send_makes_no_request(segment: Any, backend: SegmentBackend) -> None:
    """If all events are rejected, Segment hears nothing."""
    with pytest.raises(Rejected):
        backend.send([Event(name="a")])
    assert segment.requests == []


@pytest.mark.parametrize("bad", [{0}, {7}, {3, 4, 12}, set(range(16))])
def test_the_events_that_segment_cannot_read_are_found(
    segment: Any, backend: SegmentBackend, answer: Any, bad: set[int]
) -> None:
    """A batch that is answered with 400 is halved: those at fault are rejected, the others arrive
    once, in order.
    """
    events = events_of(16)
    guilty = {events[number].id for number in bad}
    received: list[str] = []

    def decide(request: Any) -> Any:
        if guilty & set(request.ids):
            return answer(400)
        received.extend(request.ids)
        return answer(200)

    segment.decide = decide
    with pytest.raises(Rejected) as caught:
        backend.send(events)
    assert caught.value.reasons == dict.fromkeys(guilty, "Segment cannot read it (HTTP 400)")
    assert received == [event.id for event in events if event.id not in guilty]
    assert len(segment.requests) < 2 * len(events)


def test_the_hunt_for_a_bad_event_is_bounded_by_time(
    segment: Any, backend: SegmentBackend, answer: Any
) -> None:
    """If the time is over before those at fault are found, all may be tried again."""
    backend.timeout_s = 0.5

    def decide(_request: Any) -> Any:
        time.sleep(0.15)
        return answer(400)

    segment.decide = decide
    with pytest.raises(DeliveryError, match=r"had no answer within timeout_s=0\.5"):
        backend.send(events_of(16))
    assert len(segment.requests) < 16


@pytest.mark.parametrize("status", [429, 500, 503, 408])
def test_a_busy_segment_is_asked_again(
    segment: Any, backend: SegmentBackend, answer: Any, status: int
) -> None:
    """After 429 or 5xx the same batch goes out again, with the same message ids."""
    segment.answers = [answer(status), answer(status)]
    events = events_of(2)
    backend.send(events)
    assert [request.ids for request in segment.requests] == [ids_of(events)] * 3


@pytest.mark.parametrize("status", [429, 500])
def test_it_gives_up_after_max_retries(
    segment: Any, backend: SegmentBackend, answer: Any, status: int
) -> None:
    """One attempt more than `max_retries`, then an error whose text says what Segment answered."""
    segment.decide = lambda _request: answer(status)
    with pytest.raises(DeliveryError) as caught:
        backend.send(events_of(1))
    assert (
        str(caught.value) == f"Segment at 127.0.0.1 answered HTTP {status}; it may be tried again"
    )
    assert len(segment.requests) == 3


def test_it_waits_as_long_as_segment_asks(
    segment: Any, backend: SegmentBackend, answer: Any
) -> None:
    """A `Retry-After` within the time limit is kept."""
    segment.answers = [answer(429, {"Retry-After": "1"})]
    started = time.monotonic()
    backend.send(events_of(1))
    assert time.monotonic() - started >= 1
    assert len(segment.requests) == 2


def test_a_dripping_server_ends_at_the_time_limit(
    segment: Any, backend: SegmentBackend, answer: Any
) -> None:
    """An answer that comes a byte at a time does not make each byte's wait count anew."""
    backend.timeout_s = 1.0
    segment.decide = lambda _request: answer(manner="drip")
    started = time.monotonic()
    with pytest.raises(DeliveryError, match="had no answer within timeout_s=1"):
        backend.send(events_of(1))
    assert 0.9 < time.monotonic() - started < 6


def test_addresses_that_do_not_answer_share_the_time(
    write_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name with five addresses, none of which completes a connection, takes the time
    limit once.
    """
    listeners: list[socket.socket] = []
    for number in range(
        1, 6
    ):  # a full backlog: the kernel leaves further connections without an answer
        listener = socket.socket()
        listener.bind((f"127.0.0.{number}", listeners[0].getsockname()[1] if listeners else 0))
        listener.listen(0)
        listeners.append(listener)
    port = listeners[0].getsockname()[1]
    addresses = [
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"127.0.0.{n}", port)) for n in range(1, 6)
    ]
    fillers = []
    for *_, address in addresses:
        for _attempt in range(3):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(address)
            fillers.append(filler)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_options: addresses)
    backend = SegmentBackend(
        write_key=write_key, host=f"http://several.example:{port}", timeout_s=1.0, max_retries=0
    )
    backend.open()
    started = time.monotonic()
    try:
        with pytest.raises(DeliveryError):
            backend.send(events_of(1))
        assert time.monotonic() - started < 3.5
    finally:
        for one in (*listeners, *fillers):
            one.close()


@pytest.mark.parametrize("wait", ["3600", "Fri, 01 Jan 2100 00:00:00 GMT", "inf"])
def test_it_does_not_wait_in_vain(
    segment: Any, backend: SegmentBackend, answer: Any, wait: str
) -> None:
    """A `Retry-After` beyond the time limit, in seconds or as a date, ends the attempt at once."""
    segment.decide = lambda _request: answer(429, {"Retry-After": wait})
    started = time.monotonic()
    with pytest.raises(DeliveryError, match="answered HTTP 429"):
        backend.send(events_of(1))
    assert time.monotonic() - started < backend.timeout_s / 2
    assert len(segment.requests) == 1


@pytest.mark.parametrize("wait", ["", "soon", "-5", "nan", "Fri, 01 Jan 2010 00:00:00 GMT"])
def test_a_useless_retry_after(
    segment: Any, backend: SegmentBackend, answer: Any, wait: str
) -> None:
    """What cannot be read, or lies in the past, does not keep it from asking again."""
    segment.answers = [answer(503, {"Retry-After": wait})]
    backend.send(events_of(1))
    assert len(segment.requests) == 2


def test_a_hanging_server_ends_at_the_time_limit(
    segment: Any, backend: SegmentBackend, answer: Any
) -> None:
    """`send` ends with an error soon after `timeout_s`, retries or not."""
    backend.timeout_s = 1.0
    segment.decide = lambda _request: answer(manner="hang")
    started = time.monotonic()
    with pytest.raises(DeliveryError) as caught:
        backend.send(events_of(1))
    assert 0.9 < time.monotonic() - started < 6
    assert (
        str(caught.value)
        == "Segment at 127.0.0.1 had no answer within timeout_s=1; it may be tried again"
    )


def test_a_server_that_refuses(nobody: str, write_key: str) -> None:
    """Where nothing listens, the error names the host and what happened."""
    backend = SegmentBackend(write_key=write_key, host=nobody, max_retries=1)
    backend.open()
    with pytest.raises(DeliveryError) as caught:
        backend.send(events_of(1))
    assert (
        str(caught.value)
        == "Segment at 127.0.0.1 could not be reached (ConnectionError); it may be tried again"
    )


@pytest.mark.parametrize("manner", ["drop", "half"])
def test_a_connection_that_breaks(
    segment: Any, backend: SegmentBackend, answer: Any, manner: str
) -> None:
    """Without a whole answer nobody knows, so it is sent again, with the same ids, by which Segment
    can tell.
    """
    segment.answers = [answer(manner=manner)]
    events = events_of(2)
    backend.send(events)
    assert [request.ids for request in segment.requests] == [ids_of(events)] * 2


def test_a_failure_half_way_through_a_split_batch(
    segment: Any, backend: SegmentBackend, answer: Any
) -> None:
    """If a later request fails, `send` raises; sent again, every event is there, and twice under
    one id only.
    """
    backend.max_retries = 0
    segment.answers = [answer(200), answer(500)]
    events = events_of(40, text="x" * 30_000)
    with pytest.raises(DeliveryError):
        backend.send(events)
    backend.send(events)
    assert {message["messageId"] for message in segment.accepted} == set(ids_of(events))


def test_a_wrong_key(segment: Any, write_key: str) -> None:
    """A refused write key is not tried again at once; the error says what to check, and does not
    contain the key.
    """
    wrong = SegmentBackend(write_key="wr0ng-key", host=segment.url)
    wrong.open()
    with pytest.raises(DeliveryError) as caught:
        wrong.send(events_of(1))
    assert str(caught.value) == "Segment at 127.0.0.1 answered HTTP 401; check `write_key`"
    assert segment.unauthorized == 1


def test_another_server(segment: Any, write_key: str, answer: Any) -> None:
    """A host that is not Segment's API is an error to try again: the config may be corrected."""
    astray = SegmentBackend(write_key=write_key, host=f"{segment.url}/elsewhere")
    astray.open()
    with pytest.raises(DeliveryError, match=r"answered HTTP 404; check `host`$"):
        astray.send(events_of(1))


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(
    segment: Any, backend: SegmentBackend, answer: Any, status: int
) -> None:
    """Whoever it names gets neither the events nor the write key."""
    segment.decide = lambda _request: answer(status, {"Location": f"{segment.url}/v1/batch?again"})
    with pytest.raises(
        DeliveryError, match="answered with a redirect, so nothing was sent; check `host`"
    ):
        backend.send(events_of(1))
    assert len(segment.requests) == 1


@pytest.mark.parametrize("manner", ["endless", "chunks", "bomb"])
@pytest.mark.parametrize(
    ("status", "words"),
    [(200, "the answer is too long to be Segment's; check `host`"), (503, "answered HTTP 503")],
)
def test_a_long_answer_is_not_read(
    segment: Any, backend: SegmentBackend, answer: Any, manner: str, status: int, words: str
) -> None:
    """Neither endless ones, nor those that unpack to gigabytes; the next one is read as ever."""
    backend.max_retries = 0
    bomb = gzip.compress(gzip.compress(bytes(300 << 20), 1), 9) if manner == "bomb" else b""
    packed = {"Content-Encoding": "gzip, gzip"}
    segment.answers = [
        answer(status, packed, "whole", bomb + bytes(100_000))
        if bomb
        else answer(status, manner=manner)
    ]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DeliveryError, match=words):
        backend.send(events_of(1))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000
    backend.send(events_of(1))
    assert len(segment.requests) == 2


def test_a_small_answer_is_not_unpacked(segment: Any, backend: SegmentBackend, answer: Any) -> None:
    """The status is all that counts, and the connection serves again."""
    bomb = gzip.compress(gzip.compress(bytes(30 << 20), 9), 9)
    assert len(bomb) < 16_384
    segment.decide = lambda _: answer(200, {"Content-Encoding": "gzip, gzip"}, "whole", bomb)
    backend.send(events_of(1))
    backend.send(events_of(1))
    assert segment.requests[0].connection == segment.requests[1].connection


@pytest.mark.parametrize("status", [202, 204])
def test_other_good_news_is_not_an_acceptance(
    segment: Any, backend: SegmentBackend, answer: Any, status: int
) -> None:
    """Segment says 200 when it has accepted a batch; another success is that of another server."""
    segment.decide = lambda _request: answer(status)
    with pytest.raises(DeliveryError, match=f"answered HTTP {status}; check `host`"):
        backend.send(events_of(1))


def test_credentials_of_a_netrc_file_are_not_sent(
    segment: Any, backend: SegmentBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server gets the write key, whatever the user's file says of its host."""
    netrc = tmp_path / "netrc"
    netrc.write_text("default login alice password hunter2\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    backend.send(events_of(1))
    assert (len(segment.accepted), segment.unauthorized) == (1, 0)


@pytest.mark.parametrize(
    "host", ["https://u:hunter2@h", "https://h/?token=hunter2", "https://h#hunter2"]
)
def test_a_host_holds_no_secret(host: str) -> None:
    """What might be one is refused, and not shown."""
    with pytest.raises(ConfigError, match="`host` holds a user or a query") as caught:
        Tracker.from_config({"backends": {"product": {"plugin": "segment", "host": host}}})
    assert "hunter2" not in str(caught.value)


def test_the_clients_own_key_and_host(segment: Any, write_key: str) -> None:
    """Without options the client's global settings hold, as they are at the time of sending."""
    backend = SegmentBackend()
    backend.open()
    with pytest.raises(DeliveryError) as caught:
        backend.send(events_of(1))
    client.write_key, client.host = write_key, segment.url
    backend.send(events_of(1))
    assert (
        str(caught.value)
        == "segment has no write key; set the option `write_key`, or `segment.analytics.write_key`"
    )
    assert len(segment.accepted) == 1


def test_the_clients_queue_is_not_used(segment: Any, backend: SegmentBackend) -> None:
    """No default client and no thread of the client exist after a send: nothing is left that could
    lose an event.
    """
    threads = set(threading.enumerate())
    backend.send(events_of(1))
    assert client.default_client is None
    assert not [t for t in set(threading.enumerate()) - threads if "Consumer" in type(t).__name__]


def test_neither_key_nor_payload_show(
    segment: Any,
    backend: SegmentBackend,
    answer: Any,
    write_key: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """With all loggers at DEBUG and every kind of failure, logs, errors and repr hold neither the
    key nor the data.
    """
    segment.answers = [answer(500), answer(400), answer(manner="half"), answer(401)]
    shown = [repr(backend)]
    with caplog.at_level(logging.DEBUG):
        for _ in range(3):
            try:
                backend.send(events_of(1, secret="p4yload"))
            except (Rejected, DeliveryError) as error:
                shown += [str(error), repr(error), str(pickle.loads(pickle.dumps(error)))]
        logging.getLogger("segment").debug("somebody else's line")
    text = caplog.text + "".join(shown)
    assert len(shown) == 7
    assert "p4yload" not in text
    assert write_key not in text
    assert "somebody else's line" in text


def test_many_threads_at_once(segment: Any, backend: SegmentBackend) -> None:
    """Sends from eight threads all arrive, each event once."""
    batches = [events_of(5) for _ in range(40)]

    def send_share(share: int) -> None:
        for batch in batches[share::8]:
            backend.send(batch)

    threads = [threading.Thread(target=send_share, args=(share,)) for share in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    arrived = [message["messageId"] for message in segment.accepted]
    assert sorted(arrived) == sorted(event.id for batch in batches for event in batch)


def send_in_child(backend: SegmentBackend, event: Event) -> None:
    """What a forked child does."""
    backend.open()
    backend.send([event])


@pytest.mark.process
def test_a_forked_child_has_connections_of_its_own(segment: Any, backend: SegmentBackend) -> None:
    """Parent and child never share a connection, whichever of them sends first."""
    before, child, after = events_of(3)
    backend.send([before])
    process = multiprocessing.get_context("fork").Process(
        target=send_in_child, args=(backend, child)
    )
    process.start()
    process.join(30)
    assert process.exitcode == 0
    backend.send([after])
    first, second, third = (request.connection for request in segment.requests)
    assert segment.requests[1].ids == [child.id]
    assert first == third != second


def test_open_without_a_server(nobody: str, write_key: str) -> None:
    """A Segment that is down does not stop an application from starting."""
    config = {
        "backends": {
            "product": {
                "plugin": "segment",
                "write_key": write_key,
                "host": nobody,
                "max_retries": 0,
            }
        }
    }
    with Tracker.from_config(config) as tracker, tracker.context({"user_id": 1}):
        tracker.open()
        tracker.emit("a")
        counts = tracker.stats()["product"]
    assert (counts.received, counts.failed) == (1, 1)
    reason = (
        "DeliveryError: Segment at 127.0.0.1 could not be reached (ConnectionError); it may be"
        " tried again"
    )
    assert counts.reasons == {f"failed: {reason}": 1}


def test_named_in_a_config(segment: Any, write_key: str) -> None:
    """Found by its name, it delivers what is emitted, and the counts say so."""
    node = {
        "plugin": "segment",
        "write_key": write_key,
        "host": segment.url,
        "send_as": "data",
    }
    with Tracker.from_config({"backends": {"product": node}}) as tracker:
        with tracker.context({"user_id": 10938}):
            tracker.emit("address.create", {"city": "Warmensteinach"})
        tracker.emit("nobody.did.it")
        counts = tracker.stats()["product"]
    (message,) = segment.accepted
    assert (message["event"], message["userId"]) == ("address.create", "10938")
    assert message["properties"] == {"city": "Warmensteinach"}
    assert (counts.received, counts.delivered, counts.failed) == (2, 1, 1)
    assert counts.balanced


def test_options_reject_nonsense() -> None:
    """Every wrong option is reported at once, and the secret one without its value."""
    nonsense = {
        "write_key": 5,
        "host": "api.segment.io",
        "timeout_s": 0,
        "max_retries": -1,
        "send_as": "both",
        "anonymous_id_keys": "session",
        "gzip": "yes",
        "retries": 1,
    }
    with pytest.raises(ConfigError) as caught:
        Tracker.from_config({"backends": {"product": {"plugin": "segment", **nonsense}}})
    found = {
        problem.path.removeprefix("backends.product."): problem.found
        for problem in caught.value.problems
    }
    assert found.keys() == nonsense.keys()
    assert found["write_key"] is None


def test_it_says_that_it_blocks() -> None:
    """Tools can tell that it talks to a network, and no option is called so."""
    assert SegmentBackend.blocking is True
    assert "blocking" not in repr(SegmentBackend())
