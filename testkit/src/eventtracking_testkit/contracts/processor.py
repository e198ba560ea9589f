"""The contract of processors."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import pytest

from eventtracking import DropEvent, Event, Tracker
from eventtracking_testkit.contracts._plugin import PluginContract, check_pickles
from eventtracking_testkit.distribution import fake_distribution
from eventtracking_testkit.fakes import RecordingBackend
from eventtracking_testkit.forks import run_in_fork
from eventtracking_testkit.samples import SAMPLE_DATA, sample_event
from eventtracking_testkit.threads import in_threads

__all__ = ["ProcessorContract"]

_NAMES = (
    "testkit.sample.event",
    "a",
    "événement 日本",
    "with space",
    "n" * 5_000,
    "lone \ud800 surrogate",
    "line\nbreak",
)


class ProcessorContract(PluginContract):
    """What every processor must keep. A processor's tests subclass it and inherit the tests::

    class TestMyProcessor(ProcessorContract):
        plugin = "mine"                       # the name in the config

        @pytest.fixture
        def options(self):                    # as the config gives them
            return {"keys": ["password"]}

        @pytest.fixture
        def sample(self):                     # an event that it changes or lets pass; the default
        is often good enough
            return sample_event(data={"password": "x"})
    """

    kinds = ("processor",)

    @pytest.fixture
    def sample(self) -> Event:
        """Return an event that the processor changes, or lets pass. Override it."""
        return sample_event()

    @pytest.fixture
    def processor(self, options: Mapping[str, Any]) -> Any:
        """Return the processor."""
        return self.build(options)

    def config(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return a whole config that names the processor, at `processors[0]`."""
        return {"processors": [{"plugin": self.plugin, **options}]}

    def path(self) -> str:
        """Return the processor's path in that config."""
        return "processors[0]"

    def events(self, sample: Event) -> list[Event]:
        """Return the sample, and events with data of every kind and with odd names."""
        kinds = [sample_event(kind, name=sample.name) for kind in SAMPLE_DATA]
        return [sample, *kinds, *(sample.replace(name=name) for name in _NAMES)]

    def test_it_returns_an_event_or_drops(self, processor: Any, sample: Event) -> None:
        """Each event comes out as an event with the same id, that JSON can tell, or is dropped;
        nothing else is raised.
        """
        for event in self.events(sample):
            result = _run(processor, event)
            if isinstance(result, DropEvent):
                continue
            assert isinstance(result, Event), f"it returned a {type(result).__name__}"
            assert result.id == event.id, "it changed the id"
            assert isinstance(result.name, str)
            assert isinstance(result.timestamp, datetime)
            assert result.timestamp.utcoffset() is not None, "its timestamp is naive"
            assert isinstance(result.data, dict)
            assert isinstance(result.context, dict)
            json.loads(result.to_json())

    def test_events_are_not_changed(self, processor: Any, sample: Event) -> None:
        """It changes a copy: the event that it was given is as it was, nested values included."""
        for event in self.events(sample):
            before = copy.deepcopy(event)
            _run(processor, event)
            assert event == before

    def test_drops_say_why_and_nothing_more(self, processor: Any, sample: Event) -> None:
        """The reason of a drop is counted: it pickles, and holds nothing of the event's values."""
        marked = sample.replace(
            data={**sample.data, "secret": "s3cr3t-value"}, context={"user": "s3cr3t-value"}
        )
        for event in (marked, *self.events(marked)):
            result = _run(processor, event)
            if isinstance(result, DropEvent):
                check_pickles(result)
                assert "s3cr3t-value" not in result.reason

    def test_accepts_is_an_answer_to_a_name(self, processor: Any, sample: Event) -> None:
        """Where it has `accepts`, the answer is a bool, the same each time; what it does not
        accept, it drops.

        If the name is all (`name_only`), it drops nothing else.
        """
        if not hasattr(processor, "accepts"):
            assert not getattr(processor, "name_only", False), "`name_only` needs `accepts`"
            return
        for event in self.events(sample):
            answer = processor.accepts(event.name)
            assert isinstance(answer, bool)
            assert processor.accepts(event.name) is answer
            dropped = isinstance(_run(processor, event), DropEvent)
            assert dropped or answer, "it does not accept the name, and lets the event pass"
            if getattr(processor, "name_only", False):
                assert dropped is not answer

    def test_events_keep_to_themselves(self, processor: Any, sample: Event) -> None:
        """Of events with one name and other values, none shows in what comes out for another."""
        marks = ("leak-of-the-first", "leak-of-the-second")
        first, second = (_marked(sample, mark) for mark in marks)
        for event, foreign in ((first, marks[1]), (second, marks[0]), (first, marks[1])):
            result = _run(processor, event)
            assert foreign not in (
                result.reason if isinstance(result, DropEvent) else result.to_json()
            )

    def test_many_threads(self, processor: Any, sample: Event) -> None:
        """Eight threads at once: each event comes out with its own id, or is dropped."""

        def run(number: int) -> None:
            for _ in range(50):
                event = sample.replace(id=f"event-{number}")
                result = _run(processor, event)
                assert isinstance(result, DropEvent) or result.id == event.id

        in_threads(run)

    @pytest.mark.process
    def test_a_forked_child(self, processor: Any, sample: Event) -> None:
        """It works on in a forked child."""
        _run(processor, sample)
        run_in_fork(lambda: _run(processor, sample.replace(id="in-the-child")))

    def test_by_name_through_a_tracker(self, options: Mapping[str, Any], sample: Event) -> None:
        """Named in a config, it lets events pass or filters them; none counts as failed."""
        with fake_distribution(plugins={"testkit_contract_recorder": RecordingBackend}):
            config = {
                **self.config(options),
                "backends": {"it": {"plugin": "testkit_contract_recorder"}},
            }
            with Tracker.from_config(config) as tracker:
                events = self.events(sample)
                for event in events:
                    tracker.submit(event)
                counts = tracker.stats()[""]
            assert counts.failed == 0, counts.reasons
            assert counts.delivered + counts.filtered == len(events)
        RecordingBackend.forget("")


def _marked(event: Event, mark: str) -> Event:
    """Put a mark into each part of an event but its name."""
    parts: dict[str, Any] = {
        part: {**getattr(event, part), "testkit_mark": mark}
        for part in ("context", "data", "extra")
    }
    return event.replace(id=f"id-{mark}", **parts)


def _run(processor: Any, event: Event) -> Any:
    """Return what came out, or the drop."""
    try:
        return processor(event)
    except DropEvent as drop:
        return drop
