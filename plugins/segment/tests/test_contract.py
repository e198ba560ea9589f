"""The contract that every backend keeps, kept by this one."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

from eventtracking import Rejected, Tracker
from eventtracking_testkit.contracts import BackendContract
from eventtracking_testkit.samples import SAMPLE_DATA, sample_event

TOO_LARGE = "long text"
FITTING = [kind for kind in SAMPLE_DATA if kind != TOO_LARGE]


class TestSegmentBackend(BackendContract):
    """What goes out as properties is the whole event, so it can be compared."""

    plugin = "segment"
    memory_events = 4_000

    @pytest.fixture(autouse=True)
    def server(self, segment: Any) -> None:
        self._server = segment

    def forget(self) -> None:
        """Let the server forget the requests."""
        self._server.requests.clear()

    @pytest.fixture
    def options(self, segment: Any, write_key: str) -> Mapping[str, Any]:
        return {"write_key": write_key, "host": segment.url, "max_retries": 0, "timeout_s": 20}

    @pytest.fixture
    def stored(self, segment: Any) -> Callable[[], list[dict[str, Any]]]:
        """What Segment keeps: of each message id the first."""

        def read() -> list[dict[str, Any]]:
            return list(
                {
                    message["messageId"]: message["properties"] for message in segment.accepted
                }.values()
            )

        return read

    @pytest.fixture
    def broken(self, segment: Any, answer: Any) -> Callable[[], AbstractContextManager[None]]:
        """Meanwhile the server takes nothing: it refuses to read."""

        @contextmanager
        def break_it() -> Iterator[None]:
            segment.deaf = True
            yield
            segment.deaf = False

        return break_it

    @pytest.mark.parametrize("kind", FITTING)
    def test_data_of_every_kind(self, backend: Any, stored: Any, kind: str) -> None:
        """Data of each kind that Segment has room for arrives as it was sent."""
        super().test_data_of_every_kind(backend, stored, kind)

    def test_events_are_not_changed(self, backend: Any) -> None:
        """What a sibling will be sent next is as it was before, also of an event that is
        rejected.
        """
        events = [sample_event(kind) for kind in SAMPLE_DATA]
        before = copy.deepcopy(events)
        with pytest.raises(Rejected):
            backend.send(events)
        assert events == before

    def test_data_over_the_limit(self, backend: Any, stored: Any) -> None:
        """Data over Segment's limit is rejected with the reason, which does not hold it."""
        event = sample_event(TOO_LARGE)
        with pytest.raises(Rejected) as caught:
            backend.send((event,))
        assert caught.value.reasons == {event.id: "longer than the 32 KB that Segment takes"}
        assert stored() == []

    def test_by_name_through_a_tracker(self, options: Mapping[str, Any], stored: Any) -> None:
        """Named in a config, it delivers what fits, rejects what does not, and the counts
        say so.
        """
        with (
            Tracker.from_config(self.config(options)) as tracker,
            tracker.context({"user_id": 10938}),
        ):
            for data in SAMPLE_DATA.values():
                tracker.emit("testkit.emitted", data)
            counts = tracker.stats()["it"]
        assert (counts.received, counts.delivered, counts.failed) == (
            len(SAMPLE_DATA),
            len(FITTING),
            1,
        )
        assert counts.balanced
        assert len(stored()) == len(FITTING)
