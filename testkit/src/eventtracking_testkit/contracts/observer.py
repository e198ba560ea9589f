"""The contract of observers."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from eventtracking import Tracker
from eventtracking_testkit.contracts._plugin import PluginContract
from eventtracking_testkit.distribution import fake_distribution
from eventtracking_testkit.fakes import RecordingBackend
from eventtracking_testkit.forks import run_in_fork

__all__ = ["ObserverContract"]

_RECORDER = "testkit_contract_recorder"
_AT_ONCE_S = 2.0
"""No time at all, on a machine that does much else."""


class ObserverContract(PluginContract):
    """Tests that every observer passes. Subclass it and inherit them::

    class TestMyObserver(ObserverContract):
        plugin = "mine"  # the name in the config

        @pytest.fixture
        def options(self, tmp_path):  # as the config gives them
            return {"path": str(tmp_path / "counts.jsonl")}
    """

    kinds = ("observer",)

    def config(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return a whole config that names the observer, at `observers[0]`."""
        return {"observers": [{"plugin": self.plugin, **options}]}

    def path(self) -> str:
        """Return the observer's path in that config."""
        return "observers[0]"

    @pytest.fixture
    def observed(
        self, options: Mapping[str, Any], caplog: pytest.LogCaptureFixture
    ) -> Iterator[Any]:
        """Make trackers that the observer watches; none may be switched off, or leave a thread."""

        @contextmanager
        def observe() -> Iterator[Tracker]:
            config = {**self.config(options), "backends": {"it": {"plugin": _RECORDER}}}
            with (
                fake_distribution(plugins={_RECORDER: RecordingBackend}),
                Tracker.from_config(config) as tracker,
            ):
                yield tracker
            RecordingBackend.forget("")

        with caplog.at_level(logging.WARNING, "eventtracking"):
            yield observe
        assert "switched off" not in caplog.text

    def test_it_starts_with_the_first_open(self, observed: Any) -> None:
        """A config that nobody uses starts no thread; the first event starts it, once."""
        threads = set(threading.enumerate())
        with observed() as tracker:
            assert set(threading.enumerate()) == threads, "it started before the first event"
            for number in range(3):
                tracker.emit("a", {"number": number})
            assert tracker.stats()["it"].delivered == 3

    def test_close_ends_its_threads(self, observed: Any) -> None:
        """After the tracker is closed, no thread of it is left; a second close does nothing."""
        before = set(threading.enumerate())
        with observed() as tracker:
            tracker.emit("a")
        tracker.close()
        deadline = time.monotonic() + _AT_ONCE_S
        while left := set(threading.enumerate()) - before:
            assert time.monotonic() < deadline, f"still alive: {left}"
            time.sleep(0.01)

    def test_close_without_start(self, options: Mapping[str, Any]) -> None:
        """Closing an observer that never started does nothing, twice."""
        observer = self.build(options)
        for _ in range(2):
            getattr(observer, "close", lambda: None)()

    def test_it_never_slows_an_emit(self, observed: Any) -> None:
        """`start` gives its work to a thread of its own: the first emit returns at once."""
        with observed() as tracker:
            began = time.monotonic()
            tracker.emit("a")
            assert time.monotonic() - began < _AT_ONCE_S

    def test_it_starts_again_in_a_forked_child(self, observed: Any) -> None:
        """A forked child watches on its own, and the parent goes on."""
        with observed() as tracker:
            tracker.emit("a")

            def child() -> None:
                tracker.emit("b")
                assert tracker.stats()["it"].delivered == 1
                tracker.close()

            run_in_fork(child)
            tracker.emit("c")
            assert tracker.stats()["it"].delivered == 2

    def test_batches_are_told_from_many_threads(self, options: Mapping[str, Any]) -> None:
        """Where it has `delivered`, any thread may call it, before `start` and after `close`."""
        observer = self.build(options)
        told = getattr(observer, "delivered", None)
        if told is None:
            return
        threads = [threading.Thread(target=told, args=("it", 10, 0.01)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        getattr(observer, "close", lambda: None)()
