"""A site's own processors and backends, written for event-tracking, in our tree."""

from __future__ import annotations

import json
import logging
import pickle
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

from eventtracking import Counts, Event, Rejected, Tracker
from eventtracking_legacy.backend import LegacyBackend
from eventtracking_legacy.engine import Verbatim
from eventtracking_legacy.exceptions import EventEmissionExit
from eventtracking_legacy.objects import RoutingBackend
from eventtracking_legacy.settings import translate
from eventtracking_legacy.shape import from_legacy, to_legacy
from eventtracking_testkit.contracts import BackendContract

Recorded = dict[str, list[Any]]
CALLS: dict[str, Callable[[Any], Any]] = {}
SENDS: dict[str, Callable[[Any], None]] = {}


class Call:
    """A site's processor that runs the function that the test has put under its name."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, event: Any) -> Any:
        return CALLS[self.name](event)


class Send:
    """A site's backend that runs the function that the test has put under its name."""

    def __init__(self, name: str) -> None:
        self.name = name

    def send(self, event: Any) -> None:
        SENDS[self.name](event)


def through(
    function: Callable[[Any], Any], recorded: Recorded, name: str = "n", data: Any = None
) -> Counts:
    """Emit one event through one processor to a recording backend; return the counts of
    the root.
    """
    CALLS["f"] = function
    processors = [{"ENGINE": f"{__name__}.Call", "OPTIONS": {"name": "f"}}]
    backends = {"own": {"ENGINE": "site_code.Recorder"}}
    with Tracker.from_config(translate(backends, processors).config) as tracker:
        with tracker.context({"ip": "10.0.0.1"}):
            tracker.emit(name, {"k": 1} if data is None else data)
        counts = tracker.stats()[""]
    assert counts.balanced
    return counts


def test_a_backend_gets_the_dict_that_it_knows(recorded: Recorded) -> None:
    """A site's backend gets name, timestamp, context and data, and no key that it does not know."""
    through(lambda event: event, recorded)
    (event,) = recorded["events"]
    assert {key: event[key] for key in event if key != "timestamp"} == {
        "name": "n",
        "context": {"ip": "10.0.0.1"},
        "data": {"k": 1},
    }
    assert event["timestamp"].tzinfo is not None


def test_changed_in_place(recorded: Recorded) -> None:
    """A processor may change the dict in place and return None."""

    def change(event: dict[str, Any]) -> None:
        event["data"]["more"] = 2
        del event["context"]["ip"]

    through(change, recorded)
    assert recorded["events"][0]["data"] == {"k": 1, "more": 2}
    assert recorded["events"][0]["context"] == {}


def test_a_changed_dict_does_not_reach_siblings(recorded: Recorded) -> None:
    """A sibling does not see the changes that a site's code makes to its dict."""
    SENDS["s"] = lambda event: event["data"].clear()
    CALLS["f"] = lambda event: event
    own = {"ENGINE": f"{__name__}.Send", "OPTIONS": {"name": "s"}}
    backends = {"a": own, "b": {"ENGINE": "site_code.Recorder"}}
    with Tracker.from_config(translate(backends).config) as tracker:
        tracker.emit("n", {"k": {"deep": 1}})
    assert recorded["events"][0]["data"] == {"k": {"deep": 1}}


def test_a_new_dict_with_further_keys(recorded: Recorded) -> None:
    """A processor may return another dict, with keys at the top."""
    through(lambda event: {**event, "name": "other", "top": [1]}, recorded)
    assert (recorded["events"][0]["name"], recorded["events"][0]["top"]) == ("other", [1])


def test_any_shape(recorded: Recorded) -> None:
    """A processor may return a dict of a wholly different shape, which the backend then gets."""
    through(lambda event: {"id": "own-id", "verb": "did", "timestamp": "2020-01-01"}, recorded)
    assert recorded["events"] == [{"timestamp": "2020-01-01", "id": "own-id", "verb": "did"}]


def test_a_list(recorded: Recorded) -> None:
    """A processor may make a list of an event; the site's backend gets the list."""
    through(lambda event: [{"part": 1}, {"part": 2}], recorded)
    assert recorded["events"] == [[{"part": 1}, {"part": 2}]]


@pytest.mark.parametrize("result", [[], ()])
def test_an_empty_list_filters(result: Any, recorded: Recorded) -> None:
    """An empty list leaves nothing to deliver: the event is filtered."""
    counts = through(lambda event: result, recorded)
    assert (recorded, counts.filtered) == ({}, 1)


def test_the_exit_exception_filters(recorded: Recorded) -> None:
    """`EventEmissionExit` filters the event, under the processor's name."""

    def leave(event: Any) -> None:
        raise EventEmissionExit

    counts = through(leave, recorded)
    assert (recorded, counts.filtered) == ({}, 1)
    assert counts.reasons == {"filtered: legacy_processor: Call raised EventEmissionExit": 1}


@pytest.mark.parametrize("result", [False, "text", 3, [1], object()])
def test_nonsense_fails(result: Any, recorded: Recorded) -> None:
    """Any result but a dict, a list of dicts and None is a failure, and nothing is
    delivered.
    """
    counts = through(lambda event: result, recorded)
    assert (recorded, counts.failed) == ({}, 1)


def test_a_crash_does_not_leak(recorded: Recorded) -> None:
    """When a scrubber crashes, the event with its secret is not delivered."""

    def crash(event: Any) -> None:
        raise ValueError(event)

    counts = through(crash, recorded)
    assert (recorded, counts.failed) == ({}, 1)
    assert counts.reasons == {"failed: legacy_processor raised ValueError": 1}


def test_the_log_line_has_the_shape_that_the_site_gave_it(caplog: pytest.LogCaptureFixture) -> None:
    """A native backend writes the site's shape: `time` for `timestamp`, no empty keys, JSON from
    the first character.
    """
    log = {"ENGINE": "eventtracking.backends.logger.LoggerBackend", "OPTIONS": {"name": "tracking"}}
    config = translate({"log": log}, [{"ENGINE": "site_code.OlderShape"}]).config
    with caplog.at_level(logging.INFO, "tracking"), Tracker.from_config(config) as tracker:
        tracker.emit("course.enrolled", {"k": 1})
    (line,) = [record.getMessage() for record in caplog.records if record.name == "tracking"]
    assert line[0] == "{"
    assert "\n" not in line
    document = json.loads(line)
    assert sorted(document) == [
        "context",
        "event",
        "event_source",
        "event_type",
        "id",
        "name",
        "time",
        "username",
    ]
    assert document["time"].endswith("Z")


def test_a_shape_survives_a_router_that_knows_nothing_of_it() -> None:
    """The shape is in the parts that routers store and carry."""
    event = Event(name="n", data={"k": 1})
    shaped = from_legacy(event, {"name": "n", "verb": "did", "data": "text"})
    carried = Event(
        name=shaped.name,
        id=shaped.id,
        timestamp=shaped.timestamp,
        data=pickle.loads(pickle.dumps(shaped.data)),
        extra=pickle.loads(pickle.dumps(shaped.extra)),
    )
    assert to_legacy(carried) == {"name": "n", "verb": "did", "data": "text"}
    assert carried.to_json() == shaped.to_json()
    assert shaped.id == event.id


def test_a_scrubbed_context_does_not_come_back() -> None:
    """A key that a site's code took away is nowhere in the event."""
    event = Event(name="n", context={"ip": "10.0.0.1"}, data={"secret": 1})
    shaped = from_legacy(event, {"name": "n"})
    assert (shaped.context, shaped.data) == ({}, {})


def test_the_backend_is_made_on_first_use() -> None:
    """A backend whose constructor fails does not keep the config from loading; its events are
    counted as failed.
    """
    made: list[int] = []

    def build() -> None:
        made.append(1)
        raise ConnectionError

    CALLS["f"] = lambda _: build()
    config = {"backends": {"own": {"plugin": "legacy", "engine": f"{__name__}.Connecting"}}}
    with Tracker.from_config(config) as tracker:
        assert made == []
        tracker.emit("n")
        counts = tracker.stats()["own"]
    assert (made, counts.failed) == ([1], 1)


class Connecting:
    """A site's backend that connects while it is made."""

    def __init__(self) -> None:
        CALLS["f"](self)

    def send(self, event: Any) -> None:
        """Never reached."""


class OwnRouter(RoutingBackend):
    """A router of a site's."""


class TestBatches:
    """A router hands batches to a backend that takes one event at a time."""

    def backend(self, refused: set[str], seen: list[str]) -> LegacyBackend:
        """A backend that refuses events by name."""

        def send(event: Any) -> None:
            if event["name"] in refused:
                raise BrokenPipeError
            seen.append(event["name"])

        SENDS["s"] = send
        return LegacyBackend(engine=f"{__name__}.Send", options={"name": "s"})

    def test_what_was_delivered_is_not_sent_again(self) -> None:
        """When one event of a batch fails, the retry sends only that one again."""
        refused, seen = {"b"}, list[str]()
        backend, events = self.backend(refused, seen), [Event(name=name) for name in "abc"]
        with pytest.raises(BrokenPipeError):
            backend.send(events)
        refused.clear()
        backend.send(events)
        assert seen == ["a", "c", "b"]

    def test_one_bad_event_does_not_hold_up_the_batch_for_good(self) -> None:
        """An event that fails again and again while others are delivered is rejected."""
        seen = list[str]()
        backend, events = self.backend({"b"}, seen), [Event(name=name) for name in "abc"]
        for _ in range(2):
            with pytest.raises(BrokenPipeError):
                backend.send(events)
        with pytest.raises(Rejected) as caught:
            backend.send(events)
        assert (list(caught.value.reasons), seen) == ([events[1].id], ["a", "c"])

    def test_a_part_that_is_refused_for_good(self, caplog: pytest.LogCaptureFixture) -> None:
        """A refusal by a backend of ours inside a site's router is a rejection; the siblings have
        the event, and have it once.
        """
        seen: list[str] = []
        refused = {"b"}

        def send(event: Any) -> None:
            if event["name"] in refused:
                raise BrokenPipeError
            seen.append(event["name"])

        SENDS["s"] = send
        caplog.set_level("INFO", "x")
        log = {
            "ENGINE": "eventtracking.backends.logger.LoggerBackend",
            "OPTIONS": {"name": "x", "max_event_size": 1},
        }
        own = {"ENGINE": f"{__name__}.Send", "OPTIONS": {"name": "s"}}
        options = {"backends": {"log": log, "own": own}}
        backend = LegacyBackend(engine=f"{__name__}.OwnRouter", options=Verbatim(options))
        events = [Event(name=name) for name in "ab"]
        with pytest.raises(BrokenPipeError):
            backend.send(events)
        refused.clear()
        with pytest.raises(Rejected) as caught:
            backend.send(events)
        reason = "LoggerBackend: longer than max_event_bytes=1"
        assert caught.value.reasons == {event.id: reason for event in events}
        assert seen == ["a", "b"]

    def test_a_rejection_under_another_id(self) -> None:
        """A rejection that the site's backend raises, and that knows the event by another id, keeps
        its reason.
        """

        def send(event: Any) -> None:
            raise Rejected({"another id": "too large"})

        backend, event = self.backend(set(), []), Event(name="a")
        SENDS["s"] = send
        with pytest.raises(Rejected) as caught:
            backend.send([event])
        assert caught.value.reasons == {event.id: "too large"}

    def test_an_outage_rejects_nothing(self) -> None:
        """While the whole backend is down, the batch may be tried again as often as it takes."""
        backend, events = self.backend({"a", "b"}, []), [Event(name=name) for name in "ab"]
        for _ in range(5):
            with pytest.raises(BrokenPipeError):
                backend.send(events)


class TestContract(BackendContract):
    """The wrapper keeps the contract of every backend."""

    plugin = "legacy"

    def forget(self) -> None:
        """Let the site's backend forget."""
        import site_code

        site_code.RECORDED.clear()

    @pytest.fixture
    def options(self) -> dict[str, Any]:
        """A backend of a site's that keeps its events."""
        return {"engine": "site_code.Recorder", "options": {"tag": "contract"}}

    @pytest.fixture
    def broken(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[], AbstractContextManager[None]]:
        """Let the site's backend fail for the length of a block."""

        @contextmanager
        def break_it() -> Iterator[None]:
            import site_code

            def fail(self: Any, event: Any) -> None:
                raise BrokenPipeError

            with monkeypatch.context() as patch:
                patch.setattr(site_code.Recorder, "send", fail)
                yield

        return break_it
