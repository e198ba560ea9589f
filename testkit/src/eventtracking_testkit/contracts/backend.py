"""The contract of backends."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import pytest

from eventtracking import ConfigError, Event, Rejected, Tracker, Undelivered
from eventtracking.config.options import options_of
from eventtracking_testkit._deeds import watch_connections
from eventtracking_testkit.contracts._destination import Broken, Document, Stored, call, plain
from eventtracking_testkit.contracts._life import LifeContract
from eventtracking_testkit.contracts._plugin import check_pickles, needs, secrets_in
from eventtracking_testkit.contracts._strain import StrainContract
from eventtracking_testkit.forks import run_in_fork
from eventtracking_testkit.samples import SAMPLE_DATA, sample_event, sample_events
from eventtracking_testkit.threads import in_threads

__all__ = ["BackendContract", "Broken", "Document", "Stored"]


class BackendContract(LifeContract, StrainContract):
    """What every backend must keep. A backend's tests subclass it and inherit the tests.

    The class attribute `plugin` is needed; each fixture that is overridden shows more::

        class TestMyBackend(BackendContract):
            plugin = "mine"  # the name in the config

            @pytest.fixture
            def options(
                self, tmp_path
            ):  # as the config gives them; a destination of this test's own
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

    `stored()` returns all that the destination holds, in any order, as `Event`s or as dicts like
    `Event.to_dict()` or parsed `Event.to_json()`. It is called in the process of the test, also for
    what a forked child sent. Without it, the tests show only that nothing raises.

    One fixture more, `other_options`, gives the options of a second destination, to show that the
    two do not mix.

    `kept` names what `stored()` brings back of an event; leave out what the destination does not
    keep. `stores_once = False` is for destinations that cannot tell that an event comes twice (say
    in the README that they cannot). `memory_events` says how many events show that memory does not
    grow, `not_secret` names options that look like secrets and are none.

    `Rejected`, `Undelivered` and pauses are answers as a router takes them: events are tried again
    after their pause, and batches are within `max_batch_events` and `max_batch_bytes`.
    """

    # Sending

    def test_one_event(self, backend: Any, stored: Stored | None) -> None:
        """A batch of one arrives whole."""
        event = sample_event()
        result = backend.send((event,))
        assert not inspect.isawaitable(result), (
            "`send` returned what somebody would have to wait for; nobody does"
        )
        self.settle(backend)
        self.check_stored(stored, [event])

    def test_many_events(self, backend: Any, stored: Stored | None) -> None:
        """A batch of 300, as a list, arrives whole."""
        events = sample_events(300)
        self.send(backend, events)
        self.settle(backend)
        self.check_stored(stored, events)

    @pytest.mark.parametrize("kind", list(SAMPLE_DATA))
    def test_data_of_every_kind(self, backend: Any, stored: Stored | None, kind: str) -> None:
        """Data of each kind arrives as it was sent: nested, non-ASCII, UUID, datetime, bytes,
        large, empty.
        """
        event = sample_event(kind)
        self.send(backend, (event,))
        self.settle(backend)
        self.check_stored(stored, [event])

    def test_odd_names_and_extra_keys(self, backend: Any, stored: Stored | None) -> None:
        """A non-ASCII name, a long one, and further top-level keys arrive."""
        events = [
            sample_event(name="événement 日本"),
            sample_event(name="n" * 300),
            sample_event(extra={"version": 1}),
        ]
        self.send(backend, events)
        self.settle(backend)
        self.check_stored(stored, events)

    def test_events_are_not_changed(self, backend: Any) -> None:
        """What a sibling will be sent next is as it was before, nested values included."""
        events = [sample_event(kind) for kind in SAMPLE_DATA]
        before = copy.deepcopy(events)
        self.send(backend, events)
        self.settle(backend)
        assert events == before

    def test_many_threads(self, backend: Any, stored: Stored | None) -> None:
        """Eight threads send at once, and everything arrives."""
        batches = [[sample_events(5) for _ in range(10)] for _ in range(8)]

        def send(number: int) -> None:
            for batch in batches[number]:
                self.send(backend, batch)

        in_threads(send)
        self.settle(backend)
        self.check_stored(stored, [event for batch in batches for part in batch for event in part])

    def test_the_same_events_again(self, make: Callable[[], Any], stored: Stored | None) -> None:
        """Redelivery, through another instance too and beside new events, is no error, and stores
        each id once.
        """
        old, new = sample_events(5), sample_events(5)
        first, second = make(), make()
        self.send(first, old)
        self.send(first, old)
        self.send(second, [*old[:3], *new, *old[3:]])
        for backend in (first, second):
            self.settle(backend)
        self.check_stored(stored, [*old, *new])

    def test_an_error_leaves_nothing_half_done(self, backend: Any, stored: Stored | None) -> None:
        """A batch with an event that no JSON can tell: all arrive, or only it is rejected, or none
        arrives.
        """
        good, poison = (
            sample_events(4),
            sample_event(data={"poison": object(), "deep": {"er": {1, 2}}}),
        )
        sent = [*good[:2], poison, *good[2:]]
        try:
            backend.send(sent)
        except (Rejected, Undelivered) as error:
            check_pickles(error)
            sent = [event for event in sent if event.id not in _named_in(error)]
        except Exception as error:  # noqa: BLE001 - any error says that none was delivered
            check_pickles(error)
            sent = []
        assert sent in ([], good, [*good[:2], poison, *good[2:]]), "a good event was rejected"
        self.settle(backend)
        if stored is not None:
            assert {plain(document)["id"] for document in stored()} == {event.id for event in sent}

    @needs("broken")
    def test_a_broken_destination_and_a_retry(
        self, backend: Any, stored: Stored | None, broken: Broken, options: Mapping[str, Any]
    ) -> None:
        """While the destination is broken `send` raises an error that may be tried again; a retry
        later stores each event once.
        """
        before, held = sample_events(3), sample_events(3)
        self.send(backend, before)
        with broken():
            with pytest.raises(Exception) as caught:  # noqa: PT011 - the contract takes any but one
                backend.send(held)
            _check_no_blame(caught.value)
            check_pickles(caught.value)
            self._check_safe(caught.value, options)
        self.send(backend, held)
        self.settle(backend)
        self.check_stored(stored, [*before, *held])

    def _check_safe(self, error: Exception, options: Mapping[str, Any]) -> None:
        """No secret option's value stands in an error."""
        shown = f"{error!s} {error!r}"
        for path, value in secrets_in(self.plugin_class, options):
            assert not value or str(value) not in shown, f"an error shows {path}"

    @needs("broken")
    def test_opening_a_broken_destination(
        self, options: Mapping[str, Any], broken: Broken, stored: Stored | None
    ) -> None:
        """Neither building nor closing fails when the destination is down; what `open` or `send`
        raises may be tried again, and is.
        """
        backend, given_up, events = self.build(options), self.build(options), sample_events(1)
        with broken():
            with pytest.raises(Exception) as caught:  # noqa: PT011 - the contract takes any but one
                self._open_and_try(backend, events)
            _check_no_blame(caught.value)
            check_pickles(caught.value)
            self._check_safe(caught.value, options)
            with suppress(Exception):
                call(given_up, "open")
            call(given_up, "close")
        self.open_and_send(backend, events)
        self.settle(backend)
        call(backend, "close")
        self.check_stored(stored, events)

    @needs("broken")
    def test_a_probe_of_a_broken_destination(
        self, options: Mapping[str, Any], broken: Broken
    ) -> None:
        """Where it has `probe`, that raises while the destination is broken, if `open` did not."""
        if hasattr(self.plugin_class, "probe"):
            backend = self.build(options)
            with broken():
                with pytest.raises(Exception) as caught:  # noqa: PT011 - any will do
                    self._open_and_probe(backend)
                self._check_safe(caught.value, options)
                call(backend, "close")

    def test_a_probe_of_a_good_destination(self, backend: Any, stored: Stored | None) -> None:
        """Where it has `probe`, that finds nothing wrong with a good destination, and sends
        nothing.
        """
        if hasattr(backend, "probe"):
            events = sample_events(1)
            self.send(backend, events)
            backend.probe()
            self.settle(backend)
            self.check_stored(stored, events)

    def _open_and_try(self, backend: Any, events: Sequence[Event]) -> None:
        call(backend, "open")
        backend.send(events)

    def _open_and_probe(self, backend: Any) -> None:
        call(backend, "open")
        backend.probe()

    # Its place among others

    @needs("other_options")
    def test_two_destinations_do_not_mix(
        self, options: Mapping[str, Any], other_options: Mapping[str, Any], stored: Stored | None
    ) -> None:
        """Of two instances with other options, each sends to its own destination, whichever was
        built last.
        """
        backend, other = self.build(options), self.build_other(other_options)
        events = sample_events(4)
        self.open_and_send(backend, events[:2])
        self.open_and_send(other, sample_events(2))
        self.send(backend, events[2:])
        for one in (backend, other):
            self.settle(one)
            call(one, "close")
        self.check_stored(stored, events)

    def test_what_it_wants_for_itself_alone(self, options: Mapping[str, Any]) -> None:
        """Where it has `exclusive`, that names options; a second node with the same is a problem of
        the config, there.
        """
        own = call(self.build(options), "exclusive") or {}
        assert own.keys() <= options_of(self.plugin_class).keys(), (
            "`exclusive` names what is no option"
        )
        if own:
            config = self.config(options)
            with pytest.raises(ConfigError) as caught:
                Tracker.from_config(
                    {"backends": {**config["backends"], "twin": config["backends"]["it"]}}
                )
            assert {problem.path for problem in caught.value.problems} >= {
                f"backends.twin.{name}" for name in own
            }

    @pytest.mark.process
    def test_what_talks_to_a_network_says_so(self, options: Mapping[str, Any]) -> None:
        """If `open` or `send` connects to anything but a Unix socket, the class says `blocking =
        True`.

        Seen are the connections of Python's `socket`, not those that a driver in C makes past it.
        """
        if getattr(self.plugin_class, "blocking", False):
            return

        def child() -> None:
            backend = self.build(options)
            connections = watch_connections()
            self.open_and_send(backend, sample_events(1))
            assert connections == [], "it talks to a network: say `blocking: ClassVar[bool] = True`"
            self.settle(backend)
            call(backend, "close")

        run_in_fork(child)

    # By name

    def test_by_name_through_a_tracker(
        self, options: Mapping[str, Any], stored: Stored | None
    ) -> None:
        """Named in a config, it delivers what is emitted, and the counts say so."""
        with (
            Tracker.from_config(self.config(options)) as tracker,
            tracker.context({"user_id": 10938}),
        ):
            for data in SAMPLE_DATA.values():
                tracker.emit("testkit.emitted", data)
            tracker.flush(30.0)
            counts = tracker.stats()["it"]
            assert (counts.received, counts.delivered) == (len(SAMPLE_DATA), len(SAMPLE_DATA)), (
                counts.reasons
            )
            assert counts.balanced
        if stored is not None:
            assert [plain(document)["name"] for document in stored()] == ["testkit.emitted"] * len(
                SAMPLE_DATA
            )


def _named_in(error: Rejected | Undelivered) -> set[str]:
    """Return the ids of the events that were not delivered."""
    if isinstance(error, Rejected):
        return set(error.reasons)
    return {*error.retry, *error.rejected}


def _check_no_blame(error: Exception) -> None:
    """Show that no event is refused for good.

    Raises:
        AssertionError: If one is.
    """
    blamed = isinstance(error, Rejected) or (isinstance(error, Undelivered) and error.rejected)
    assert not blamed, "a broken destination is no fault of the events"
