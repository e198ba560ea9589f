"""What the tests of backends stand on: instances, and what their destination holds."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar

import msgspec
import pytest

from eventtracking import Event
from eventtracking_testkit.contracts._plugin import PluginContract

__all__ = ["Broken", "Destination", "Document", "Stored", "call", "plain"]

Document = Mapping[str, Any]
Stored = Callable[[], Sequence["Event | Document"]]
Broken = Callable[[], AbstractContextManager[None]]


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
        call(backend, "open")
        backend.send(events)


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
