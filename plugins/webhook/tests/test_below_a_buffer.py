"""Below a buffer, in memory and on disk: a server that is killed in the middle, and every event
accounted for.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from eventtracking import Counts, Tracker
from eventtracking_buffer.dead_letters import Selection

pytestmark = pytest.mark.needs("buffer")
Track = Callable[..., Tracker]
EVENTS = 600


@pytest.fixture(params=["memory", "disk"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """The options of a buffer that retries soon."""
    options = {"storage": request.param, "retry_base_s": 0.02, "retry_max_s": 0.1}
    return {**options, "path": str(tmp_path / "buffer")} if request.param == "disk" else options


def config(storage: dict[str, Any], url: str, **options: Any) -> dict[str, Any]:
    hook = {"plugin": "webhook", "url": url, "proxy": "", **options}
    return {"backends": {"b": {"plugin": "buffer", **storage, "backends": {"hook": hook}}}}


def counts_of(tracker: Tracker) -> Counts:
    counts = tracker.stats()["b/hook"]
    assert counts.balanced
    return counts


def buffer_of(tracker: Tracker) -> Any:
    (router,) = (route.backend for route in tracker.routes() if route.path == "b")
    return router


def wait_until(true: Callable[[], bool], timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.01)


def _has_taken(endpoint: Any, count: int) -> bool:
    return len(set(endpoint.taken)) >= count


def emit_all(tracker: Tracker, count: int = EVENTS) -> None:
    for number in range(count):
        tracker.emit("demo.happened", {"number": number, "bad": number % 100 == 7})


@pytest.mark.parametrize("form", ["json", "cloudevents_batch"])
def test_a_server_that_is_killed_in_the_middle(
    start_server: Callable[..., Any],
    endpoint_of: Any,
    storage: dict[str, Any],
    form: str,
) -> None:
    """Killed and started again while events are emitted, with partial success in between: each
    event is delivered or a dead letter, none is lost, and few come twice.
    """
    server = start_server("--partial")
    endpoint = endpoint_of(server)
    told = config(storage, endpoint.url, max_batch_events=20, format=form)
    with Tracker.from_config(told) as tracker:
        emitting = threading.Thread(target=emit_all, args=(tracker,))
        emitting.start()
        for goal in (40, 160):
            wait_until(partial(_has_taken, endpoint, goal))
            server.kill()
            server.start()
        emitting.join()
        assert tracker.flush(20.0)
        counts = counts_of(tracker)
    taken = Counter(endpoint.taken)
    assert (counts.received, counts.delivered, counts.dead_lettered) == (EVENTS, EVENTS - 6, 6)
    assert len(taken) == EVENTS - 6
    refused = {key for r in endpoint.requests for key in r["ids"]} - taken.keys()
    assert len(refused) == 6
    assert sum(taken.values()) - len(taken) <= 3 * 20
    assert 207 in {request["status"] for request in endpoint.requests}


def test_a_server_that_stays_dead(
    start_server: Callable[..., Any], endpoint_of: Any, tmp_path: Path
) -> None:
    """What a process could not deliver is delivered by the next one, from disk."""
    server = start_server()
    endpoint = endpoint_of(server)
    storage = {"storage": "disk", "path": str(tmp_path / "buffer"), "retry_max_s": 0.1}
    told = config(storage, endpoint.url)
    server.kill()
    with Tracker.from_config(told) as tracker:
        emit_all(tracker, 50)
        assert not tracker.flush(0.3)
        assert counts_of(tracker).pending == 50
    server.start()
    with Tracker.from_config(told) as tracker:
        assert tracker.flush(20.0)
        assert counts_of(tracker).delivered == 50
    assert len(endpoint.taken) == len(set(endpoint.taken)) == 50


def test_batches_are_cut_before_they_are_sent(endpoint: Any, storage: dict[str, Any]) -> None:
    """With `max_batch_events` at the server's limit there is no 413: 400 events are 8 requests."""
    endpoint.tell(most=50)
    told = config({**storage, "max_batch_age_s": 5.0, "max_batch_events": 400}, endpoint.url)
    told["backends"]["b"]["backends"]["hook"]["max_batch_events"] = 50
    with Tracker.from_config(told) as tracker:
        emit_all(tracker, 400)
        assert tracker.flush(20.0)
    assert endpoint.sizes == [50] * 8


def test_bytes_are_bounded_too(endpoint: Any, storage: dict[str, Any]) -> None:
    """No request has more bytes of events than `max_batch_bytes`, an event alone apart."""
    told = config({**storage, "max_batch_age_s": 5.0}, endpoint.url, max_batch_bytes=3_000)
    with Tracker.from_config(told) as tracker:
        for _ in range(10):
            tracker.emit("demo.happened", {"text": "x" * 1_000})
        tracker.emit("demo.happened", {"text": "x" * 5_000})
        assert tracker.flush(20.0)
    assert len(endpoint.taken) == 11
    assert max(endpoint.sizes) == 2


def test_pauses_are_no_attempts(endpoint: Any, storage: dict[str, Any]) -> None:
    """A server that asks for more pauses than there are attempts loses no event."""
    busy = {"status": 429, "headers": {"Retry-After": "0.02"}}
    endpoint.tell(answers=[busy] * 6)
    with Tracker.from_config(config({**storage, "max_attempts": 3}, endpoint.url)) as tracker:
        emit_all(tracker, 20)
        wait_until(lambda: counts_of(tracker).delivered == 20)
    assert len([r for r in endpoint.requests if r["status"] == 429]) == 6


def test_only_those_of_a_partial_success_come_again(endpoint: Any, storage: dict[str, Any]) -> None:
    """Of 100 events of which 10 are wanted again, exactly these come twice."""
    endpoint.tell(partial=True)
    told = config({**storage, "max_batch_age_s": 5.0}, endpoint.url)
    with Tracker.from_config(told) as tracker:
        for number in range(100):
            tracker.emit("demo.happened", {"number": number})
        assert tracker.flush(20.0)
    came = Counter(key for request in endpoint.requests for key in request["ids"])
    assert sorted(came.values()) == [1] * 90 + [2] * 10
    assert Counter(endpoint.taken) == dict.fromkeys(came, 1)


def test_an_endpoint_that_is_gone(endpoint: Any, tmp_path: Path) -> None:
    """After 410 the route stops: one request, everything pending, with the reason to be seen; the
    next process delivers it.
    """
    storage = {"storage": "disk", "path": str(tmp_path / "buffer")}
    told = config(storage, endpoint.url)
    endpoint.tell(answers=[{"status": 410}])
    with Tracker.from_config(told) as tracker:
        tracker.emit("demo.happened", {})
        wait_until(lambda: len(endpoint.requests) == 1)
        emit_all(tracker, 20)
        assert not tracker.flush(0.3)
        assert tracker.stats()["b"].pending == 21
        assert "HTTP 410" in str(buffer_of(tracker).status())
    assert len(endpoint.requests) == 1
    with Tracker.from_config(told) as tracker:
        assert tracker.flush(20.0)
        assert counts_of(tracker).delivered == 21


def test_what_is_refused_can_be_replayed(endpoint: Any, storage: dict[str, Any]) -> None:
    """After a 403 the events are dead letters, with the status as the reason; when the key is
    right they are replayed.
    """
    endpoint.tell(answers=[{"status": 403}])
    told = config({**storage, "max_batch_age_s": 5.0}, endpoint.url)
    with Tracker.from_config(told) as tracker:
        emit_all(tracker, 5)
        assert tracker.flush(20.0)
        counts = counts_of(tracker)
        assert counts.dead_lettered == 5
        assert "HTTP 403" in str(counts.reasons)
        letters = buffer_of(tracker).letters
        selection, count = letters.freeze(Selection())
        assert count == 5
        letters.replay(selection)
        wait_until(lambda: counts_of(tracker).delivered == 5)
    assert endpoint.sizes[0] == len(endpoint.taken) == 5
