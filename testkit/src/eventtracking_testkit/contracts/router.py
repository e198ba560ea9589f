"""The contract of routers."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final

import pytest

from eventtracking import Counts, Event, Rejected, Tracker
from eventtracking.config.discovery import installed_plugins
from eventtracking_testkit.contracts._destination import Stored, call
from eventtracking_testkit.contracts.backend import BackendContract
from eventtracking_testkit.distribution import fake_distribution
from eventtracking_testkit.fakes import FailingBackend, RecordingBackend, read_recorded
from eventtracking_testkit.samples import sample_event, sample_events

__all__ = ["RouterContract"]

_RECORDER: Final = "testkit_contract_recorder"
_UNSTEADY: Final = "testkit_contract_unsteady"
_KEY: Final = "testkit below"
_FAILURES: Final = 2
"""How often the unsteady child fails."""


class RouterContract(BackendContract):
    """What every router must keep: all that a backend must, and what it takes over arrives below
    it.

    Subclass it as `BackendContract`. Below the router is a backend that writes to a file, which
    `stored` reads, for any number of processes. `send` may return before the events are below; then
    `flush` must bring them there.

    Delivery below is at least once, so `stores_once` is False here. `retries = False` is for a
    router that tries each event once: it settles what failed, or passes through. `chooses = True`
    is for one that gives an event to some of its children alone; with `options`, it must give each
    event to the child `below` if that is the only one.
    """

    kinds = ("router",)
    stores_once = False
    retries: ClassVar[bool] = True
    chooses: ClassVar[bool] = False
    settle_timeout_s = 30.0
    """How long `flush` may take to bring what was sent below."""

    @pytest.fixture(autouse=True)
    def below(self, tmp_path: Path) -> Iterator[Path]:
        """Put a backend below the router; return the file to which it writes."""
        self._file = tmp_path / f"below-{uuid.uuid4()}.jsonl"
        with fake_distribution(plugins={_RECORDER: RecordingBackend, _UNSTEADY: FailingBackend}):
            yield self._file
        RecordingBackend.forget(_KEY)
        FailingBackend.forget(_KEY)

    @pytest.fixture
    def stored(self, below: Path) -> Stored | None:
        """Read what arrived below."""
        return lambda: read_recorded(below)

    def config(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return a whole config with the router at `backends.it`, and one backend below it."""
        return self._config_over({"below": self._recorder()}, options)

    def _recorder(self) -> dict[str, Any]:
        return {"plugin": _RECORDER, "key": _KEY, "path": str(self._file)}

    def _children(self) -> dict[str, Any]:
        """Return an unsteady child and its steady sibling."""
        return {"unsteady": {"plugin": _UNSTEADY, "key": _KEY}, "below": self._recorder()}

    def _config_over(
        self, backends: Mapping[str, Any], options: Mapping[str, Any]
    ) -> dict[str, Any]:
        return {"backends": {"it": {"plugin": self.plugin, **options, "backends": dict(backends)}}}

    def build(self, options: Mapping[str, Any]) -> Any:
        """Make an instance that is bound to a route below it."""
        tracker = Tracker.from_config(self.config(options))
        # No public way leads to a router's instance, because nobody but a test of it may call one
        # past its tracker.
        router = tracker._tree.routes["it"].backend
        self._trackers = [*getattr(self, "_trackers", []), tracker]
        return router

    def build_other(self, options: Mapping[str, Any]) -> Any:
        """Make an instance over another file than the one that `stored` reads."""
        self._file = self._file.with_suffix(".other")
        return self.build(options)

    def forget(self) -> None:
        """Let the backend below forget."""
        RecordingBackend.forget(_KEY)

    def settle(self, backend: Any) -> None:
        """Flush, and expect that nothing is left."""
        assert call(backend, "flush", self.settle_timeout_s) is not False, "flush left something"

    def test_nothing_is_lost_between_send_and_close(
        self, make: Callable[[], Any], stored: Stored | None
    ) -> None:
        """What was sent just before a flush and a close is below afterwards."""
        events = sample_events(50)
        router = make()
        for event in events:
            self.send(router, (event,))
        self.settle(router)
        call(router, "close")
        self.check_stored(stored, events)

    # Failures below

    def _deliver(
        self,
        options: Mapping[str, Any],
        events: Sequence[Event],
        action: Callable[[Sequence[Event]], None],
    ) -> dict[str, Counts]:
        """Send events to an unsteady child and its steady sibling; return the counts when nothing
        is left to do.
        """
        FailingBackend.actions[_KEY] = action
        with Tracker.from_config(self._config_over(self._children(), options)) as tracker:
            for event in events:
                tracker.submit(event)
            assert tracker.flush(self.settle_timeout_s), "flush left something"
            return tracker.stats()

    def _check_failures(
        self,
        counts: Mapping[str, Counts],
        events: Sequence[Event],
        held: Sequence[Event],
        below: Path,
    ) -> None:
        """Show that the sibling has each event once, and that all are accounted for at each path,
        none of them pending.
        """
        arrived = Counter(document["id"] for document in read_recorded(below))
        assert max(arrived.values(), default=1) == 1, "a sibling has an event twice"
        assert self.chooses or len(arrived) == len(events), "a sibling misses events"
        for path in ("it", "it/below", "it/unsteady"):
            assert counts[path].pending == 0, (
                f"{path}: what failed stays pending: retry it, or settle it"
            )
            assert counts[path].balanced, f"{path}: {counts[path]}"
            chosen = (counts[path].received, counts[path].filtered) == (len(events), 0)
            assert self.chooses or chosen, f"{path}: {counts[path]}"
        assert counts["it/unsteady"].delivered == len({event.id for event in held})

    def test_a_child_that_fails_for_a_while(self, options: Mapping[str, Any], below: Path) -> None:
        """A child that is down at first has each event in the end, its sibling has each once, and
        nothing is pending.
        """
        events, held = sample_events(5), list[Event]()

        def act(batch: Sequence[Event]) -> None:
            if FailingBackend.attempts[_KEY] <= _FAILURES:
                raise ConnectionError("down for a moment")
            held.extend(batch)

        counts = self._deliver(options, events, act)
        self._check_failures(counts, events, held, below)
        missing = {event.id for event in events} - {event.id for event in held}
        assert not (missing and self.retries and not self.chooses), (
            f"{len(missing)} events never reached the child that was down"
        )

    def test_a_child_that_rejects(self, options: Mapping[str, Any], below: Path) -> None:
        """An event that a child rejects ends there as failed or dead-lettered; the others, and the
        sibling, have theirs.
        """
        bad, held, offered = sample_event(), list[Event](), list[Event]()
        events = [*sample_events(2), bad, *sample_events(2)]

        def act(batch: Sequence[Event]) -> None:
            rejects = bad in batch and bad not in offered
            offered.extend(batch)
            held.extend(event for event in batch if event != bad or not rejects)
            if rejects:
                raise Rejected({bad.id: "bad for good"})

        counts = self._deliver(options, events, act)
        self._check_failures(counts, events, held, below)
        assert offered.count(bad) <= 1, (
            "what was rejected is bad for good: settle it, and do not try it again"
        )
        leaf = counts["it/unsteady"]
        assert self.chooses or (leaf.delivered, leaf.failed + leaf.dead_lettered) == (
            len(events) - 1,
            1,
        ), leaf

    # Among other routers

    @pytest.mark.parametrize("storage", ["memory", "disk"])
    def test_below_a_buffer(
        self, options: Mapping[str, Any], below: Path, tmp_path: Path, storage: str
    ) -> None:
        """Below a buffer, no id is lost, comes twice to a child or stays pending: only events that
        failed come again.
        """
        if not any(found.name == "buffer" for found in installed_plugins().declarations):
            pytest.skip("eventtracking-buffer is not installed")
        events, held = _named_after(self._children()), list[Event]()

        def act(batch: Sequence[Event]) -> None:
            if FailingBackend.attempts[_KEY] <= _FAILURES:
                raise ConnectionError("down for a moment")
            held.extend(batch)

        FailingBackend.actions[_KEY] = act
        config = self._below_a_buffer(options, storage, tmp_path)
        with Tracker.from_config(config) as tracker:
            for event in events:
                tracker.submit(event)
            assert tracker.flush(self.settle_timeout_s), "flush left something"
            counts = tracker.stats()
        ids = [[event.id for event in held], [one["id"] for one in read_recorded(below)]]
        for path in ("top", "top/it", "top/it/unsteady", "top/it/below"):
            assert counts[path].pending == 0, f"{path}: {counts[path]}; let deliver() join the send"
            assert counts[path].balanced, f"{path}: {counts[path]}"
        for found in ids:
            assert len(set(found)) == len(found), "a child has an event twice"
            assert self.chooses or len(found) == len(events), "a child misses events"
        total = counts["top/it"]
        assert total.delivered == len({*ids[0], *ids[1]}), f"top/it: {total}, below it {ids}"
        assert total.delivered + total.filtered == len(events), f"top/it: {total}"

    def _below_a_buffer(
        self, options: Mapping[str, Any], storage: str, folder: Path
    ) -> dict[str, Any]:
        """Return a config with the router below a buffer that retries quickly."""
        place = {} if storage == "memory" else {"path": str(folder / "top")}
        buffer = {"plugin": "buffer", "storage": storage, **place, "max_batch_age_s": 0.01}
        inner = self._config_over(self._children(), options)["backends"]
        return {"backends": {"top": {**buffer, "retry_base_s": 0.01, "backends": inner}}}

    def test_a_choice_follows_from_the_event_alone(self, options: Mapping[str, Any]) -> None:
        """Asked twice, and in another process, it gives an event to the same children: a retry
        must reach the children that failed.
        """
        config = self._config_over(self._children(), options)
        first, second = Tracker.from_config(config), Tracker.from_config(config)
        for event in _named_after(self._children()):
            decided = first.explain(event)
            for tracker in (first, second):
                assert tracker.explain(event) == decided, (
                    f"{event.id}: chosen in another way when asked again; decide by the event"
                    " alone, such as a digest of its id"
                )


def _named_after(children: Iterable[str]) -> list[Event]:
    """Make events whose names begin with those of the children."""
    return [sample_event(name=f"{child}.{n}") for n in range(10) for child in (*children, "other")]
