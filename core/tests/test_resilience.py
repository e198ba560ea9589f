"""What plugins, callers and signals can do at their worst: nothing raises into the caller, hangs,
or is lost unseen.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import attrs
import pytest
from eventtracking_fakes import CALLS, RECORDED, ROUTERS

from eventtracking import DeliveryError, DropEvent, Event, Tracker
from eventtracking._data.snapshot import snapshot
from eventtracking_testkit.distribution import fake_distribution


@attrs.define(eq=False)
class Behaving:
    """Do in each method what the test says."""

    key: str = ""
    actions = {}  # type: ignore[var-annotated]  # noqa: RUF012 - the tests' own

    def _do(self, what: str, *arguments: Any) -> Any:
        CALLS[self.key].append(what)
        return self.actions.get((self.key, what), lambda *_: None)(*arguments)

    def open(self) -> None:
        self._do("open")

    def send(self, events: Sequence[Event]) -> None:
        self._do("send", events)

    def flush(self, timeout_s: float) -> Any:
        return self._do("flush", timeout_s)

    def close(self) -> None:
        self._do("close")


@attrs.define(eq=False)
class Acting:
    """A processor that does what the test says."""

    action: str = ""
    actions = {}  # type: ignore[var-annotated]  # noqa: RUF012 - the tests' own

    def __call__(self, event: Event) -> Event:
        result: Event = self.actions[self.action](event)
        return result


@attrs.define(eq=False)
class Metered:
    """A plain backend with an attribute that a router would have."""

    counts: dict[str, int] = attrs.field(factory=dict)

    def send(self, events: Sequence[Event]) -> None:
        self.counts["sent"] = len(events)


@pytest.fixture(autouse=True)
def _plugins() -> Any:
    Behaving.actions.clear()
    Acting.actions.clear()
    with fake_distribution(
        "resilience", plugins={"behaving": Behaving, "acting": Acting, "metered": Metered}
    ):
        yield


def behaving(key: str = "", **actions: Callable[..., Any]) -> dict[str, Any]:
    Behaving.actions.update({(key, what): action for what, action in actions.items()})
    return {"plugin": "behaving", "key": key}


def make(processors: Sequence[Any] = (), **backends: Any) -> Tracker:
    return Tracker.from_config({"processors": list(processors), "backends": backends})


def raising(error: BaseException) -> Callable[..., None]:
    def action(*_: Any) -> None:
        raise error

    return action


def settled(tracker: Tracker) -> bool:
    return all(counts.balanced and not counts.pending for counts in tracker.stats().values())


# The caller


class MuteError(DeliveryError):
    """An error that cannot tell itself."""

    def __str__(self) -> str:
        raise self


def test_an_error_that_cannot_be_told_does_not_come_out_of_emit() -> None:
    """It is counted by its type."""
    made = make(a=behaving(send=raising(MuteError())))
    made.emit("x")
    assert dict(made.stats()["a"].reasons) == {"failed: MuteError": 1}
    assert settled(made)


def test_an_emit_near_the_end_of_the_stack_is_counted() -> None:
    """Wherever the stack ends, each emit that was entered is settled."""
    made = make(
        a=behaving(), g={"backends": {"b": behaving("b"), "h": {"backends": {"c": behaving("c")}}}}
    )
    made.emit("x")

    def deeper(depth: int) -> None:
        with suppress(RecursionError):
            deeper(depth + 1)
        with suppress(RecursionError):  # on entry, before anything was counted
            made.emit("deep")

    deeper(0)
    assert settled(made)


def test_a_few_lists_that_hold_each_other_do_not_keep_the_caller() -> None:
    """Data that would be a million million values when written out is cut, and said."""
    many: list[Any] = []
    for _ in range(40):
        many = [many, many]
    made = make(a={"plugin": "recording"})
    begun = time.monotonic()
    made.emit("x", {"many": many})
    assert time.monotonic() - begun < 20.0
    assert any("too many values" in reason for reason in made.stats()[""].reasons)


def test_keys_that_become_the_same_text_take_no_longer_each_time() -> None:
    """Ten thousand of them are told apart in the time of a moment."""
    keys = {(number,): number for number in range(10_000)}
    begun = time.monotonic()
    copy = snapshot(
        {
            "keys": {type(f"K{n}", (), {"__str__": lambda _: "k"})(): n for n in range(2_000)},
            "more": keys,
        }
    )
    assert time.monotonic() - begun < 20.0
    assert len(copy.value["keys"]) == 2_000
    assert len(copy.value["more"]) == 10_000


def test_what_is_submitted_is_mended_or_counted() -> None:
    """Nothing that is handed to `submit` raises into the caller."""
    made = make(a={"plugin": "recording"})
    made.submit(None)  # type: ignore[arg-type]  # what is tested
    made.submit(Event(name=None, id=7))  # type: ignore[arg-type]  # what is tested
    (event,) = RECORDED[""]
    assert isinstance(event.name, str)
    assert len(event.id) == 36
    counts = made.stats()[""]
    assert (counts.received, counts.delivered, counts.failed) == (2, 1, 1)


def test_contexts_take_nothing_and_odd_names() -> None:
    """None is an empty context, and the comparison of names runs no code of the caller's."""

    class Odd(str):
        __slots__ = ()
        __hash__ = str.__hash__

        def __eq__(self, other: object) -> bool:
            raise ZeroDivisionError

        def __repr__(self) -> str:
            raise ZeroDivisionError

    made = make(a={"plugin": "recording"})
    made.enter_context(Odd("request"), {"a": 1})
    with made.context("n", None), made.context("other"):
        made.emit("x")
    made.exit_context(Odd("nobody"))
    made.exit_context(Odd("request"))
    made.emit("y")
    assert [event.context for event in RECORDED[""]] == [{"a": 1}, {}]


# Processors


class OddDrop(DropEvent):
    """A drop that forgot its constructor."""

    def __init__(self) -> None:
        pass


@pytest.mark.parametrize(
    ("action", "outcome"),
    [
        (raising(OddDrop()), "filtered"),
        (raising(DropEvent(5)), "filtered"),  # type: ignore[arg-type]  # what is tested
        (lambda event: event.replace(name=5), "failed"),
        (lambda event: event.replace(name=None), "failed"),
    ],
)
@pytest.mark.parametrize("routed", [False, True])
def test_a_processor_that_breaks_its_contract_costs_its_own_event_alone(
    action: Callable[..., Any], outcome: str, routed: bool
) -> None:
    """Inline and below a router; the others of its batch go on."""
    Acting.actions["bad"] = lambda event: action(event) if event.name == "bad" else event
    chain = [{"plugin": "acting", "action": "bad"}, {"plugin": "by_name", "name": "good"}]
    leaf = {"plugin": "recording", "processors": chain}
    made = make(r={"plugin": "passing", "backends": {"a": leaf}}) if routed else make(a=leaf)
    for name in ("good", "bad", "good"):
        made.emit(name)
    if routed:
        ROUTERS[""].downstream.deliver([Event(name=name) for name in ("good", "bad", "good")])
    counts = made.stats()["r/a" if routed else "a"]
    rounds = 2 if routed else 1
    assert (counts.delivered, getattr(counts, outcome)) == (2 * rounds, rounds)
    assert settled(made)


# Signals and other BaseExceptions


def test_an_interrupt_while_parked_events_are_sent_loses_none_of_them() -> None:
    """What an interrupted call had still to send is sent by the next one."""

    def send(events: Sequence[Event]) -> None:
        if events[0].name == "outer":
            made.emit("inner")
        elif events[0].name == "inner":
            made.emit("deeper")
            raise KeyboardInterrupt

    made = make(a=behaving(send=send))
    with pytest.raises(KeyboardInterrupt):
        made.emit("outer")
    assert made.stats()[""].balanced
    made.emit("later")
    counts = made.stats()["a"]
    assert (counts.received, counts.delivered, counts.failed) == (4, 3, 1)
    assert settled(made)


def test_an_interrupt_in_one_backends_end_does_not_keep_the_others_open() -> None:
    """Each is flushed and closed, and then the exception goes on."""
    made = make(
        a=behaving("a", flush=raising(SystemExit(1)), close=raising(KeyboardInterrupt())),
        b=behaving("b"),
        c=behaving("c"),
    )
    made.emit("x")
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        made.close()
    for key in ("b", "c"):
        assert CALLS[key] == ["open", "send", "flush", "close"]


def test_an_interrupt_from_the_keyboard_ends_the_waiting_and_not_the_closing() -> None:
    """Whoever presses Ctrl-C during a flush waits for no further one; everything is closed all the
    same.
    """
    made = make(a=behaving("a", flush=raising(KeyboardInterrupt())), b=behaving("b"))
    made.emit("x")
    with pytest.raises(KeyboardInterrupt):
        made.close()
    assert CALLS["b"] == ["open", "send", "close"]


@pytest.mark.parametrize("method", ["open", "flush", "close"])
def test_an_emit_inside_a_backends_other_methods_waits_until_they_have_ended(method: str) -> None:
    """A handler or a destructor that emits there would wait for ever for a lock that its own thread
    holds.
    """
    lock = threading.Lock()

    def hold() -> None:
        assert lock.acquire(timeout=5.0)
        made.emit("meanwhile")
        lock.release()

    def send(events: Sequence[Event]) -> None:
        assert lock.acquire(timeout=5.0)
        lock.release()

    made = make(a=behaving(send=send))
    Behaving.actions["", method] = lambda *_: hold()
    if method != "open":
        made.emit("x")
        made.flush()
        made.close()
    else:
        made.open()
    counts = made.stats()[""]
    assert counts.delivered >= 1
    assert counts.received == counts.delivered + counts.failed
    assert settled(made)


@pytest.mark.process
def test_a_child_that_is_forked_inside_a_backend_counts_from_zero() -> None:
    """The call in which it was forked ends in the books of before."""
    made = make(a=behaving(send=lambda events: os.fork()))
    reading, writing = os.pipe()
    parent = os.getpid()
    made.emit("x")
    if os.getpid() != parent:
        try:
            Behaving.actions.clear()
            made.emit("y")
            counts = made.stats()[""]
            os.write(writing, repr((counts.received, counts.delivered, counts.pending)).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        assert answer.read() == "(1, 1, 0)"
    os.wait()
    assert settled(made)


# The life of a tracker


def test_a_new_config_loses_no_event_that_is_inside() -> None:
    """It ends in the old tree, and is counted."""
    entered, go = threading.Event(), threading.Event()

    def wait(event: Event) -> Event:
        entered.set()
        assert go.wait(20.0)
        return event

    Acting.actions["wait"] = wait
    made = make([{"plugin": "acting", "action": "wait"}], a=behaving("old"))
    thread = threading.Thread(target=made.emit, args=("slow",))
    thread.start()
    assert entered.wait(20.0)
    made.configure({"backends": {"a": behaving("new")}})
    go.set()
    thread.join()
    made.emit("new")
    counts = made.stats()[""]
    assert (counts.received, counts.delivered + counts.failed) == (2, 2)
    assert settled(made)


def test_a_backend_that_opens_while_its_tracker_closes_is_closed() -> None:
    """Nobody else would."""
    opening, go = threading.Event(), threading.Event()

    def open_slowly() -> None:
        opening.set()
        assert go.wait(20.0)

    made = make(a=behaving("a", open=open_slowly))
    thread = threading.Thread(target=made.emit, args=("x",))
    thread.start()
    assert opening.wait(20.0)
    made.close()
    go.set()
    thread.join()
    assert CALLS["a"][-1] == "close"
    assert settled(made)


def test_a_flush_says_no_when_something_could_not_be_opened() -> None:
    """A router that cannot be opened may hold what an earlier process has left."""
    made = make(a=behaving(open=raising(OSError())))
    assert made.flush(0.5) is False


def test_a_flush_ends_in_time_though_others_open() -> None:
    """It waits for another thread's open, and for a second turn, no longer than its own time."""
    opening, go = threading.Event(), threading.Event()

    def open_slowly() -> None:
        opening.set()
        assert go.wait(20.0)

    made = make(
        a=behaving("a", open=open_slowly),
        b=behaving("b", flush=lambda timeout_s: time.sleep(timeout_s + 0.3)),
    )
    thread = threading.Thread(target=made.emit, args=("x",))
    thread.start()
    assert opening.wait(20.0)
    begun = time.monotonic()
    made.flush(0.5)
    assert time.monotonic() - begun < 5.0  # ten seconds, if it waited for the other thread
    go.set()
    thread.join()
    made.close(0.1)


def test_a_backend_may_have_an_attribute_called_counts() -> None:
    """Only a router counts itself."""
    made = make(a={"plugin": "metered"})
    made.emit("x")
    assert made.stats()["a"].delivered == 1
