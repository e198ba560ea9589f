"""The contract of routers."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from eventtracking import Tracker
from eventtracking_testkit.contracts.backend import BackendContract, Stored, _call
from eventtracking_testkit.distribution import fake_distribution
from eventtracking_testkit.fakes import RecordingBackend, read_recorded

__all__ = ["RouterContract"]


class RouterContract(BackendContract):
    """What every router must keep: all that a backend must, and what it takes over arrives below it.

    Subclass it as `BackendContract`. Below the router is a backend that writes to a file, which `stored` reads, for any
    number of processes. `send` may return before the events are below; then `flush` must bring them there.

    Delivery below is at least once, so `stores_once` is False here.
    """

    kinds = ("router",)
    stores_once = False
    settle_timeout_s = 30.0
    """How long `flush` may take to bring what was sent below."""

    @pytest.fixture(autouse=True)
    def below(self, tmp_path: Path) -> Iterator[Path]:
        """Put a backend below the router; return the file to which it writes."""
        self._file = tmp_path / f"below-{uuid.uuid4()}.jsonl"
        with fake_distribution(plugins={"testkit_contract_recorder": RecordingBackend}):
            yield self._file
        RecordingBackend.forget("testkit below")

    @pytest.fixture
    def stored(self, below: Path) -> Stored | None:
        """Read what arrived below."""
        return lambda: read_recorded(below)

    def config(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return a whole config with the router at `backends.it`, and one backend below it."""
        below = {"plugin": "testkit_contract_recorder", "key": "testkit below", "path": str(self._file)}
        return {"backends": {"it": {"plugin": self.plugin, **options, "backends": {"below": below}}}}

    def build(self, options: Mapping[str, Any]) -> Any:
        """Make an instance that is bound to a route below it."""
        tracker = Tracker.from_config(self.config(options))
        # No public way leads to a router's instance, because nobody but a test of it may call one past its tracker.
        router = tracker._tree.routes["it"].backend  # type: ignore[union-attr]  # it is a leaf
        self._trackers = [*getattr(self, "_trackers", []), tracker]
        return router

    def settle(self, backend: Any) -> None:
        """Flush, and expect that nothing is left."""
        assert _call(backend, "flush", self.settle_timeout_s) is not False, "flush left something"

    def test_nothing_is_lost_between_send_and_close(self, make: Callable[[], Any], stored: Stored | None) -> None:
        """What was sent just before a flush and a close is below afterwards."""
        from eventtracking_testkit.samples import sample_events

        events = sample_events(50)
        router = make()
        for event in events:
            router.send((event,))
        self.settle(router)
        _call(router, "close")
        self.check_stored(stored, events)
