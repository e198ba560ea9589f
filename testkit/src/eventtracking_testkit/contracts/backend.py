"""The contract of backends."""

from __future__ import annotations

import copy
import gc
import json
import os
import select
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any, ClassVar

import msgspec
import pytest

from eventtracking import Event, Rejected, Tracker
from eventtracking.options import options_of
from eventtracking_testkit.contracts._plugin import PluginContract, check_pickles, needs
from eventtracking_testkit.forks import run_in_fork
from eventtracking_testkit.samples import SAMPLE_DATA, sample_event, sample_events
from eventtracking_testkit.threads import in_threads

__all__ = ["BackendContract"]

Document = Mapping[str, Any]
Stored = Callable[[], Sequence["Event | Document"]]
Broken = Callable[[], AbstractContextManager[None]]


class BackendContract(PluginContract):
    """What every backend must keep. A backend's tests subclass it and inherit the tests.

    The class attribute `plugin` is needed; each fixture that is overridden shows more::

        class TestMyBackend(BackendContract):
            plugin = "mine"  # the name in the config

            @pytest.fixture
            def options(self, tmp_path):  # as the config gives them; a destination of this test's own
                return {"path": str(tmp_path / "events.db")}

            @pytest.fixture
            def stored(self, options):  # read the destination, past the backend
                return lambda: [json.loads(line) for line in read_lines(options["path"])]

            @pytest.fixture
            def broken(self, options):  # a context manager: meanwhile every send must fail
                @contextmanager
                def break_it():
                    ...
                    yield

                return break_it

    `stored()` returns all that the destination holds, in any order, as `Event`s or as dicts like `Event.to_dict()` or parsed
    `Event.to_json()`. It is called in the process of the test, also for what a forked child sent. Without it, the tests show
    only that nothing raises.

    `kept` names what `stored()` brings back of an event; leave out what the destination does not keep.
    `stores_once = False` is for destinations that cannot tell that an event comes twice (say in the README that they cannot).
    """

    kinds = ("backend",)
    kept: ClassVar[tuple[str, ...]] = ("id", "name", "timestamp", "context", "data")
    stores_once: ClassVar[bool] = True

    @pytest.fixture
    def stored(self) -> Stored | None:
        """Return a function that reads what the destination holds. Override it."""
        return None

    @pytest.fixture
    def broken(self) -> Broken:
        """Return a function whose context manager breaks the destination for the length of a block. Override it."""
        raise NotImplementedError

    @pytest.fixture
    def make(self, options: Mapping[str, Any]) -> Iterator[Callable[[], Any]]:
        """Return a function that makes an opened backend; it is closed after the test."""
        made: list[Any] = []

        def make() -> Any:
            made.append(self.build(options))
            _call(made[-1], "open")
            return made[-1]

        yield make
        for backend in made:
            _call(backend, "close")

    @pytest.fixture
    def backend(self, make: Callable[[], Any]) -> Any:
        """Return an opened backend."""
        return make()

    def config(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return a whole config that names the backend, at `backends.it`."""
        return {"backends": {"it": {"plugin": self.plugin, **options}}}

    def settle(self, backend: Any) -> None:
        """Bring what was sent to the destination: a backend must have done so when `send` returned."""

    def check_stored(self, stored: Stored | None, events: Sequence[Event]) -> None:
        """Show that the destination holds exactly these events, once each where it can tell, as they were sent.

        Raises:
            AssertionError: If it does not.
        """
        if stored is None:
            return
        found = [_plain(document) for document in stored()]
        ids = Counter(document["id"] for document in found)
        assert set(ids) == {event.id for event in events}, "the destination holds other events than were sent"
        if self.stores_once:
            assert max(ids.values(), default=1) == 1, "an event is stored twice"
        by_id = {document["id"]: document for document in found}
        for event in events:
            sent = _plain(event)
            for key in self.kept:
                assert by_id[event.id].get(key) == sent[key], f"`{key}` changed on the way"

    # Sending

    def test_one_event(self, backend: Any, stored: Stored | None) -> None:
        """A batch of one arrives whole."""
        event = sample_event()
        backend.send((event,))
        self.settle(backend)
        self.check_stored(stored, [event])

    def test_many_events(self, backend: Any, stored: Stored | None) -> None:
        """A batch of 300, as a list, arrives whole."""
        events = sample_events(300)
        backend.send(events)
        self.settle(backend)
        self.check_stored(stored, events)

    @pytest.mark.parametrize("kind", list(SAMPLE_DATA))
    def test_data_of_every_kind(self, backend: Any, stored: Stored | None, kind: str) -> None:
        """Data of each kind arrives as it was sent: nested, non-ASCII, UUID, datetime, bytes, large, empty."""
        event = sample_event(kind)
        backend.send((event,))
        self.settle(backend)
        self.check_stored(stored, [event])

    def test_odd_names_and_extra_keys(self, backend: Any, stored: Stored | None) -> None:
        """A non-ASCII name, a long one, and further top-level keys arrive."""
        events = [sample_event(name="événement 日本"), sample_event(name="n" * 300), sample_event(extra={"version": 1})]
        backend.send(events)
        self.settle(backend)
        self.check_stored(stored, events)

    def test_events_are_not_changed(self, backend: Any) -> None:
        """What a sibling will be sent next is as it was before, nested values included."""
        events = [sample_event(kind) for kind in SAMPLE_DATA]
        before = copy.deepcopy(events)
        backend.send(events)
        self.settle(backend)
        assert events == before

    def test_many_threads(self, backend: Any, stored: Stored | None) -> None:
        """Eight threads send at once, and everything arrives."""
        batches = [[sample_events(5) for _ in range(10)] for _ in range(8)]

        def send(number: int) -> None:
            for batch in batches[number]:
                backend.send(batch)

        in_threads(send)
        self.settle(backend)
        self.check_stored(stored, [event for batch in batches for part in batch for event in part])

    def test_the_same_events_again(self, make: Callable[[], Any], stored: Stored | None) -> None:
        """Redelivery, through another instance too and beside new events, is no error, and stores each id once."""
        old, new = sample_events(5), sample_events(5)
        first, second = make(), make()
        first.send(old)
        first.send(old)
        second.send([*old[:3], *new, *old[3:]])
        for backend in (first, second):
            self.settle(backend)
        self.check_stored(stored, [*old, *new])

    def test_an_error_leaves_nothing_half_done(self, backend: Any, stored: Stored | None) -> None:
        """A batch with an event that no JSON can tell: all arrive, or only it is rejected, or none arrives."""
        good, poison = sample_events(4), sample_event(data={"poison": object(), "deep": {"er": {1, 2}}})
        sent = [*good[:2], poison, *good[2:]]
        try:
            backend.send(sent)
        except Rejected as error:
            check_pickles(error)
            sent = [event for event in sent if event.id not in error.reasons]
        except Exception as error:  # noqa: BLE001 - any error says that none was delivered
            check_pickles(error)
            sent = []
        assert sent in ([], good, [*good[:2], poison, *good[2:]]), "a good event was rejected"
        self.settle(backend)
        if stored is not None:
            assert {_plain(document)["id"] for document in stored()} == {event.id for event in sent}

    @needs("broken")
    def test_a_broken_destination_and_a_retry(
        self, backend: Any, stored: Stored | None, broken: Broken, options: Mapping[str, Any]
    ) -> None:
        """While the destination is broken `send` raises an error that may be tried again; a retry later stores each event once."""
        before, held = sample_events(3), sample_events(3)
        backend.send(before)
        with broken():
            with pytest.raises(Exception) as caught:  # noqa: PT011 - the contract takes any but one
                backend.send(held)
            assert not isinstance(caught.value, Rejected), "a broken destination is no fault of the events"
            check_pickles(caught.value)
            self._check_safe(caught.value, options)
        backend.send(held)
        self.settle(backend)
        self.check_stored(stored, [*before, *held])

    def _check_safe(self, error: Exception, options: Mapping[str, Any]) -> None:
        """No secret option's value stands in an error."""
        known = options_of(self.plugin_class)
        for name, value in options.items():
            if known[name].secret and value:
                assert str(value) not in f"{error!s} {error!r}", f"an error shows {name}"

    @needs("broken")
    def test_opening_a_broken_destination(self, options: Mapping[str, Any], broken: Broken) -> None:
        """Neither building it nor closing it fails when the destination is down; what `open` or `send` raises may be tried again."""
        with broken():
            backend = self.build(options)
            with pytest.raises(Exception) as caught:  # noqa: PT011 - the contract takes any but one
                self._open_and_send(backend, sample_events(1))
            assert not isinstance(caught.value, Rejected)
            check_pickles(caught.value)
            self._check_safe(caught.value, options)
            _call(backend, "close")

    # Life

    def test_close_without_open(self, options: Mapping[str, Any]) -> None:
        """Closing what was never opened is no error."""
        backend = self.build(options)
        _call(backend, "flush", 1.0)
        _call(backend, "close")

    def test_close_twice(self, make: Callable[[], Any], stored: Stored | None) -> None:
        """A second close is no error and loses nothing."""
        backend, events = make(), sample_events(3)
        backend.send(events)
        self.settle(backend)
        _call(backend, "close")
        _call(backend, "close")
        self.check_stored(stored, events)

    def test_flush_after_close(self, make: Callable[[], Any], stored: Stored | None) -> None:
        """A flush after the close is no error and loses nothing."""
        backend, events = make(), sample_events(3)
        backend.send(events)
        self.settle(backend)
        _call(backend, "close")
        _call(backend, "flush", 1.0)
        self.check_stored(stored, events)

    def test_flush_with_nothing_to_do(self, backend: Any) -> None:
        """A flush when all is delivered says that nothing is left, with no time given too."""
        assert _call(backend, "flush", 0.0) is not False
        backend.send(sample_events(1))
        self.settle(backend)
        assert _call(backend, "flush", 10.0) is not False

    def test_a_forked_child(self, backend: Any, stored: Stored | None) -> None:
        """A forked child opens and sends on its own; the parent's connection is as good afterwards as before."""
        before, within, after = sample_events(2), sample_events(2), sample_events(2)
        backend.send(before)
        self.settle(backend)

        def child() -> None:
            self._open_and_send(backend, within)
            self.settle(backend)
            _call(backend, "close")
            gc.collect()

        run_in_fork(child)
        backend.send(after)
        self.settle(backend)
        self.check_stored(stored, [*before, *within, *after])

    def test_a_forked_child_that_does_nothing(self, backend: Any, stored: Stored | None) -> None:
        """A child that inherits an open backend and ends, collecting garbage, does the parent no harm."""
        before, after = sample_events(2), sample_events(2)
        backend.send(before)
        run_in_fork(gc.collect)
        backend.send(after)
        self.settle(backend)
        self.check_stored(stored, [*before, *after])

    def test_a_forked_child_outlives_its_parents_connection(self, backend: Any, stored: Stored | None) -> None:
        """When the parent closes, a child that opened on its own goes on, and what it sends then is kept.

        SQLite loses it, if the parent's connection was open during the fork: it notes locks per process, and a child inherits
        the notes without the locks.
        """
        before, within, alone = sample_events(2), sample_events(2), sample_events(2)
        backend.send(before)
        self.settle(backend)
        has_opened, has_closed = os.pipe(), os.pipe()

        def child() -> None:
            self._open_and_send(backend, within)
            self.settle(backend)
            os.write(has_opened[1], b"x")
            os.read(has_closed[0], 1)
            backend.send(alone)
            self.settle(backend)
            _call(backend, "close")

        def parent() -> None:
            _wait_for_byte(has_opened[0])
            _call(backend, "close")
            os.write(has_closed[1], b"x")

        run_in_fork(child, meanwhile=parent)
        for descriptor in (*has_opened, *has_closed):
            os.close(descriptor)
        self.check_stored(stored, [*before, *within, *alone])

    def test_signals_in_the_middle(self, options: Mapping[str, Any], stored: Stored | None) -> None:
        """A signal handler that flushes and at last closes, in the middle of `send`, never hangs and loses nothing acknowledged."""
        batches = [sample_events(3) for _ in range(150)]
        marker = sample_event(name="testkit.end")

        def child() -> None:
            backend = self.build(options)
            _call(backend, "open")
            with _interrupted_by(lambda: _call(backend, "flush", 0.01)):
                for batch in batches:
                    backend.send(batch)
            self.settle(backend)
            with _interrupted_by(lambda: _call(backend, "close")), suppress(Exception):
                for _ in range(50):
                    backend.send((marker,))
            _call(backend, "close")

        run_in_fork(child)
        if stored is not None:
            found = {_plain(document)["id"] for document in stored()} - {marker.id}
            assert found == {event.id for batch in batches for event in batch}

    def _open_and_send(self, backend: Any, events: Sequence[Event]) -> None:
        _call(backend, "open")
        backend.send(events)

    # By name

    def test_by_name_through_a_tracker(self, options: Mapping[str, Any], stored: Stored | None) -> None:
        """Named in a config, it delivers what is emitted, and the counts say so."""
        with Tracker.from_config(self.config(options)) as tracker, tracker.context({"user_id": 10938}):
            for data in SAMPLE_DATA.values():
                tracker.emit("testkit.emitted", data)
            tracker.flush(30.0)
            counts = tracker.stats()["it"]
            assert (counts.received, counts.delivered) == (len(SAMPLE_DATA), len(SAMPLE_DATA)), counts.reasons
            assert counts.balanced
        if stored is not None:
            assert [_plain(document)["name"] for document in stored()] == ["testkit.emitted"] * len(SAMPLE_DATA)


def _call(backend: Any, method: str, *arguments: Any) -> Any:
    """Call an optional method, where it exists."""
    return getattr(backend, method, lambda *_: None)(*arguments)


def _plain(document: Event | Document) -> dict[str, Any]:
    """One form for all: what JSON makes of the event, its time to the millisecond."""
    event = document if isinstance(document, Event) else None
    text = event.to_json() if event is not None else msgspec.json.encode(document)
    plain: dict[str, Any] = json.loads(text)
    if "timestamp" in plain:
        plain["timestamp"] = Event.from_dict({"name": "x", "timestamp": plain["timestamp"]}).timestamp.isoformat(
            timespec="milliseconds"
        )
    plain["id"] = str(plain["id"])
    return plain


def _wait_for_byte(descriptor: int) -> None:
    """Wait for the other side, but not for ever: it may have failed, and tell so on its own."""
    select.select([descriptor], [], [], 60.0)


@contextmanager
def _interrupted_by(handler: Callable[[], object]) -> Iterator[None]:
    """Interrupt this thread every half millisecond of the processor's time, for the length of a block."""
    before = signal.signal(signal.SIGVTALRM, lambda *_: handler())
    signal.setitimer(signal.ITIMER_VIRTUAL, 0.0005, 0.0005)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
