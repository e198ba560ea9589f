"""Plugins that keep the contracts pass them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from good import GoodBackend, GoodProcessor, GoodRouter

from eventtracking import DeliveryError, Event, Undelivered
from eventtracking_testkit.contracts import BackendContract, ProcessorContract, RouterContract
from eventtracking_testkit.contracts.backend import Broken, Stored
from eventtracking_testkit.distribution import fake_distribution
from eventtracking_testkit.samples import sample_event, sample_events

PLUGINS: dict[str, type[Any]] = {
    "good_file": GoodBackend,
    "good_mark": GoodProcessor,
    "good_router": GoodRouter,
}


@pytest.fixture(autouse=True, scope="module")
def installed() -> Iterator[None]:
    """Install the plugins."""
    with fake_distribution("testkit-good", plugins=PLUGINS):
        yield


class TestGoodBackend(BackendContract):
    """Everything that the contract can be told is told."""

    plugin = "good_file"
    memory_events = 4_000  # it reads the whole file with each batch

    @pytest.fixture
    def options(self, tmp_path: Path) -> dict[str, Any]:
        return {"path": str(tmp_path / "events.jsonl"), "password": "s3cr3t"}

    @pytest.fixture
    def other_options(self, tmp_path: Path) -> dict[str, Any]:
        return {"path": str(tmp_path / "others.jsonl")}

    @pytest.fixture
    def stored(self, options: dict[str, Any]) -> Stored:
        return lambda: [
            json.loads(line) for line in Path(options["path"]).read_text().split("\n")[:-1]
        ]

    @pytest.fixture
    def broken(self, options: dict[str, Any]) -> Broken:
        """A folder stands where the file should."""

        @contextmanager
        def break_it() -> Iterator[None]:
            path, aside = Path(options["path"]), Path(options["path"] + ".aside")
            if path.exists():
                path.rename(aside)
            path.mkdir()
            yield
            shutil.rmtree(path)
            if aside.exists():
                aside.rename(path)

        return break_it


class TestLeast(BackendContract):
    """The least that can be said is the name."""

    plugin = "good_file"
    memory_events = 4_000  # it reads the whole file with each batch

    @pytest.fixture
    def options(self, tmp_path: Path) -> dict[str, Any]:
        return {"path": str(tmp_path / "events.jsonl")}


class TestGoodProcessor(ProcessorContract):
    """An event that is changed, and by the contract's own, others that are."""

    plugin = "good_mark"


class TestGoodProcessorDropping(ProcessorContract):
    """An event that is dropped."""

    plugin = "good_mark"

    @pytest.fixture
    def sample(self) -> Event:
        return sample_event(name="drop.this")


class TestGoodRouter(RouterContract):
    """A router that holds nothing."""

    plugin = "good_router"

    @pytest.fixture
    def other_options(self) -> dict[str, Any]:
        return {"label": "other"}


def test_partial_success_and_pauses_are_answers(tmp_path: Path) -> None:
    """A backend may ask for a pause, name events to be sent again, and refuse some for good; its
    batches are within its limits.
    """
    good = GoodBackend(path=str(tmp_path / "events.jsonl"))
    events, sizes = sample_events(10), list[int]()

    class Busy:
        max_batch_events = 4

        def send(self, batch: Sequence[Event]) -> None:
            sizes.append(len(batch))
            if len(sizes) == 1:
                raise DeliveryError("too many requests", retry_after_s=0.001)
            good.send(batch[:1])
            if len(batch) > 1:
                left = {event.id: "busy" for event in batch[1:]}
                raise Undelivered(left, retry_after_s=0.0)

    suite = TestGoodBackend()
    assert suite.offer(Busy(), events) == {}
    assert sizes == [4, 4, 3, 2, 1, 4, 3, 2, 1, 2, 1]
    suite.check_stored(
        lambda: [json.loads(line) for line in Path(good.path).read_text().splitlines()], events
    )


def test_what_is_not_told_is_not_collected() -> None:
    """Without a way to break the destination, the tests that need it are not there, instead of
    being skipped.
    """
    name = "test_a_broken_destination_and_a_retry"
    assert getattr(TestLeast, name) is None
    assert getattr(TestGoodBackend, name) is not None
