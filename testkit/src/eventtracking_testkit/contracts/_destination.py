"""What the tests of backends stand on: instances, and what their destination holds."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar, Final

import msgspec
import pytest

from eventtracking import DeliveryError, Event, Rejected, Undelivered
from eventtracking._tree.batches import batches_of
from eventtracking_testkit.contracts._plugin import PluginContract

__all__ = ["Broken", "Destination", "Document", "Stored", "call", "plain"]

Document = Mapping[str, Any]
Stored = Callable[[], Sequence["Event | Document"]]
Broken = Callable[[], AbstractContextManager[None]]

_MAX_ATTEMPTS: Final = 20
_MAX_PAUSE_S: Final = 1.0


class Destination(PluginContract):
    """Fixtures and helpers; see `BackendContract` for what to override."""

    kinds = ("backend",)
    kept: ClassVar[tuple[str, ...]] = ("id", "name", "timestamp", "context", "data", "extra")
    stores_once: ClassVar[bool] = True

    @pytest.fixture
    def stored(self) -> Stored | None:
        """Return a function that reads what the destination holds. Override it."""
        return None

    @pytest.fixture
    def broken(self) -> Broken:
        """Return a function whose context manager breaks the destination for the length of a block.

        Override it.
        """
        raise NotImplementedError

    @pytest.fixture
    def other_options(self) -> Mapping[str, Any]:
        """Return the options of another destination than that of `options`. Override it."""
        raise NotImplementedError

    @pytest.fixture
    def make(self, options: Mapping[str, Any]) -> Iterator[Callable[[], Any]]:
        """Return a function that makes an opened backend; it is closed after the test."""
        made: list[Any] = []

        def make() -> Any:
            made.append(self.build(options))
            call(made[-1], "open")
            return made[-1]

        yield make
        for backend in made:
            call(backend, "close")

    @pytest.fixture
    def backend(self, make: Callable[[], Any]) -> Any:
        """Return an opened backend."""
        return make()

    def config(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return a whole config that names the backend, at `backends.it`."""
        return {"backends": {"it": {"plugin": self.plugin, **options}}}

    def build_other(self, options: Mapping[str, Any]) -> Any:
        """Make an instance for a second destination."""
        return self.build(options)

    def settle(self, backend: Any) -> None:
        """Bring what was sent to the destination: a backend must have done so when `send`
        returned.
        """

    def check_stored(self, stored: Stored | None, events: Sequence[Event]) -> None:
        """Show that the destination holds exactly these events, once each where it can tell, as
        they were sent.

        Raises:
            AssertionError: If it does not.
        """
        if stored is None:
            return
        found = [plain(document) for document in stored()]
        ids = Counter(document["id"] for document in found)
        assert set(ids) == {event.id for event in events}, (
            "the destination holds other events than were sent"
        )
        if self.stores_once:
            assert max(ids.values(), default=1) == 1, "an event is stored twice"
        by_id = {document["id"]: document for document in found}
        for event in events:
            sent = plain(event)
            for key in (
                *set(self.kept) - {"extra"},
                *(event.extra if "extra" in self.kept else ()),
            ):
                assert by_id[event.id].get(key) == sent[key], f"`{key}` changed on the way"

    def open_and_send(self, backend: Any, events: Sequence[Event]) -> None:
        """Open the backend and send the events."""
        call(backend, "open")
        self.send(backend, events)

    def send(self, backend: Any, events: Sequence[Event]) -> None:
        """Send events that no backend may refuse.

        Raises:
            AssertionError: If any is refused for good.
        """
        refused = self.offer(backend, events)
        assert not refused, f"good events were rejected: {list(refused.values())[:3]}"

    def offer(self, backend: Any, events: Sequence[Event]) -> dict[str, str]:
        """Send as a router does: batches within the backend's limits, those that are to be tried
        again after their pause. Return the reasons of the events that are refused for good, by id.

        Raises:
            AssertionError: If the backend never stops asking for another attempt.
            Exception: Any other answer.
        """
        refused: dict[str, str] = {}
        for batch in batches_of(backend, events):
            left: Sequence[Event] = batch
            for _ in range(_MAX_ATTEMPTS):
                left, pause_s = _attempt(backend, left, refused)
                if not left:
                    break
                time.sleep(min(pause_s, _MAX_PAUSE_S))
            assert not left, f"`send` asks for another attempt after {_MAX_ATTEMPTS} of them"
        return refused


def _attempt(
    backend: Any, events: Sequence[Event], refused: dict[str, str]
) -> tuple[Sequence[Event], float]:
    """Send once; return the events to be tried again, and the pause before that."""
    try:
        backend.send(events)
    except Rejected as answer:
        refused.update(answer.reasons)
    except Undelivered as answer:
        refused.update(answer.rejected)
        left = [event for event in events if event.id in answer.retry]
        return left, answer.retry_after_s or 0.0
    except DeliveryError as answer:
        if answer.retry_after_s is None:
            raise
        return events, answer.retry_after_s
    return (), 0.0


def call(backend: Any, method: str, *arguments: Any) -> Any:
    """Call an optional method, where it exists."""
    return getattr(backend, method, lambda *_: None)(*arguments)


def plain(document: Event | Document) -> dict[str, Any]:
    """One form for all: what JSON makes of the event, its time to the millisecond."""
    event = document if isinstance(document, Event) else None
    text = event.to_json() if event is not None else msgspec.json.encode(document)
    plain: dict[str, Any] = json.loads(text)
    if "timestamp" in plain:
        plain["timestamp"] = Event.from_dict(
            {"name": "x", "timestamp": plain["timestamp"]}
        ).timestamp.isoformat(timespec="milliseconds")
    plain["id"] = str(plain["id"])
    return plain
