"""The tracker: emitting, contexts, and what becomes of events that cannot be delivered."""

from __future__ import annotations

import asyncio
import logging
import re
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from typing import Any

import pytest
from eventtracking_fakes import ACTIONS, CALLS, RECORDED, fail, reject

import eventtracking
from eventtracking import DataError, Event, EventLossWarning, Tracker, tracker


def recording(key: str = "", **node: Any) -> dict[str, Any]:
    return {"plugin": "recording", "key": key, **node}


def make(**backends: Any) -> Tracker:
    return Tracker.from_config({"backends": backends})


def test_an_event_arrives_whole() -> None:
    """An emitted event has a name, an aware time, the context, a copy of the data, and an id."""
    made = make(a=recording())
    data = {"page": {"number": 1}}
    made.enter_context("request", {"user_id": 7})
    made.emit("page.viewed", data)
    data["page"]["number"] = 2
    (event,) = RECORDED[""]
    assert (event.name, event.context, event.data, event.extra) == (
        "page.viewed",
        {"user_id": 7},
        {"page": {"number": 1}},
        {},
    )
    assert event.timestamp.tzinfo is timezone.utc
    assert len(event.id) == 36
    assert event.id[14] == "7"


def test_data_may_be_left_out() -> None:
    """Without data an event has an empty dict."""
    make(a=recording()).emit("x")
    assert RECORDED[""][0].data == {}


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        (5, {}, ("5", {})),
        ("", {}, ("<no name>", {})),
        (None, {}, ("None", {})),
        (b"x", {}, ("eA==", {})),
        ("x", [1], ("x", {"value": [1]})),
        ("x", "text", ("x", {"value": "text"})),
        ("x", {1: 2}, ("x", {"1": 2})),
    ],
)
def test_what_is_no_event_is_mended_and_said(name: Any, data: Any, expected: Any) -> None:
    """A bad name becomes text, data that is no mapping becomes a value; the reasons say so where
    something was lost.
    """
    made = make(a=recording())
    made.emit(name, data)
    (event,) = RECORDED[""]
    assert (event.name, event.data) == expected
    if data != {1: 2}:
        assert any(reason.startswith("mended: ") for reason in made.stats()[""].reasons)


def test_strict_mode_raises_instead_of_mending() -> None:
    """With strict = true the caller learns what would have been mended, and no event is counted."""
    made = Tracker.from_config({"strict": True, "backends": {"a": recording()}})
    with pytest.raises(DataError, match="the data is a int, not a mapping"):
        made.emit("x", 5)
    with pytest.raises(DataError, match=r"<unrepresentable _thread\.lock>"):
        made.emit("x", {"lock": threading.Lock()})
    with pytest.raises(DataError, match="the name is empty"):
        made.emit("")
    assert made.stats()[""].received == 0


def test_contexts_nest_and_repeat() -> None:
    """A name may be entered twice; leaving the inner one restores the outer."""
    made = make(a=recording())
    made.enter_context("a", {"x": 1, "y": 1})
    made.enter_context("a", {"x": 2})
    assert made.resolve_context() == {"x": 2, "y": 1}
    made.exit_context("a")
    assert made.resolve_context() == {"x": 1, "y": 1}
    made.exit_context("a")
    assert made.resolve_context() == {}


def test_an_outer_context_can_be_left_before_the_inner_one() -> None:
    """What the inner one added stays."""
    made = make(a=recording())
    made.enter_context("outer", {"x": 1, "y": 1})
    made.enter_context("inner", {"x": 2})
    made.exit_context("outer")
    assert made.resolve_context() == {"x": 2}


def test_leaving_a_context_that_was_never_entered_is_said_and_does_not_raise() -> None:
    """A `finally: exit_context` must not hide the error that it cleans up after."""
    made = make(a=recording())
    made.exit_context("nothing")
    assert made.stats()[""].reasons == {"mended: a context was left that is not entered": 1}


def test_both_forms_of_context() -> None:
    """`context(ctx)` and `context(name, ctx)` add to the outer ones, and leave on an error."""
    made = Tracker.from_config({"context": {"host": "h"}, "backends": {"a": recording()}})
    with made.context({"x": 1}), made.context("named", {"y": 2}):
        assert made.resolve_context() == {"host": "h", "x": 1, "y": 2}
    with pytest.raises(ZeroDivisionError), made.context({"x": 1}):
        raise ZeroDivisionError
    assert made.resolve_context() == {"host": "h"}


def test_a_context_is_copied_on_enter() -> None:
    """Changing the dict later changes no event; changing what resolve_context returned changes
    nothing.
    """
    made = make(a=recording())
    own = {"x": {"y": 1}}
    with made.context(own):
        own["x"]["y"] = 2
        made.resolve_context()["x"]["y"] = 3
        made.emit("e")
    assert RECORDED[""][0].context == {"x": {"y": 1}}


def test_trackers_do_not_share_contexts() -> None:
    """A context belongs to the tracker that entered it."""
    one, two = make(a=recording("1")), make(a=recording("2"))
    with one.context({"x": 1}):
        assert two.resolve_context() == {}


def test_a_thousand_tasks_each_see_only_their_own_context() -> None:
    """Asyncio tasks that interleave do not mix their contexts."""
    made = make(a=recording())

    async def work(number: int) -> None:
        with made.context("task", {"number": number}):
            await asyncio.sleep(0)
            with made.context("task", {"inner": number}):
                await asyncio.sleep(0)
                made.emit("e", {"number": number})
            await asyncio.sleep(0)
            assert made.resolve_context() == {"number": number}

    async def main() -> None:
        await asyncio.gather(*(work(number) for number in range(1_000)))

    asyncio.run(main())
    assert len(RECORDED[""]) == 1_000
    assert all(
        e.context == {"number": e.data["number"], "inner": e.data["number"]} for e in RECORDED[""]
    )


def test_fifty_threads_each_see_only_their_own_context() -> None:
    """A new thread starts without the contexts of the one that made it."""
    made = make(a=recording())
    made.enter_context("main", {"main": True})

    def work(number: int) -> None:
        with made.context({"number": number}):
            for _ in range(20):
                made.emit("e", {"number": number})

    threads = [threading.Thread(target=work, args=(number,)) for number in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(RECORDED[""]) == 1_000
    assert all(e.context == {"number": e.data["number"]} for e in RECORDED[""])


def test_a_failing_backend_hurts_neither_the_caller_nor_its_siblings() -> None:
    """Its error is counted with its type, never its text, and the root counts the worst child."""
    ACTIONS[""] = fail(ValueError("secret payload"))
    made = make(a={"plugin": "failing"}, b=recording())
    made.emit("x")
    stats = made.stats()
    assert (stats["a"].failed, stats["b"].delivered, stats[""].failed) == (1, 1, 1)
    assert stats["a"].reasons == {"failed: ValueError": 1}


def test_a_rejection_without_a_router_above_is_a_failure_with_its_reason() -> None:
    """The reason that the backend gave is counted."""
    ACTIONS[""] = reject("too large")
    made = make(a={"plugin": "failing"})
    made.emit("x")
    assert made.stats()["a"].reasons == {"failed: Rejected: too large": 1}


def test_an_escaping_base_exception_is_counted_and_goes_on() -> None:
    """KeyboardInterrupt reaches the caller, after the siblings had the event."""
    ACTIONS[""] = fail(KeyboardInterrupt())
    made = make(a={"plugin": "failing"}, b=recording())
    with pytest.raises(KeyboardInterrupt):
        made.emit("x")
    stats = made.stats()
    assert (stats["a"].failed, stats["b"].delivered, stats[""].failed) == (1, 1, 1)
    ACTIONS[""] = lambda events: None
    made.emit("y")
    assert made.stats()["a"].delivered == 1


def test_processors_change_drop_break_and_misbehave() -> None:
    """Each way a processor can end is counted for what it is."""
    chains = {
        "changed": [{"plugin": "stamp"}],
        "dropped": [{"plugin": "drop", "reason": "no"}],
        "broken": [{"plugin": "picky"}],
        "passed": [{"plugin": "picky", "on_error": "pass"}],
        "none": [{"plugin": "returns", "what": "none"}],
        "list": [{"plugin": "returns", "what": "list"}],
        "other": [{"plugin": "returns", "what": "other id"}],
    }
    made = make(**{key: recording(key, processors=chain) for key, chain in chains.items()})
    made.emit("x", {"poison": "arsenic"})
    stats = made.stats()
    assert RECORDED["changed"][0].data == {"poison": "arsenic", "stamped": True}
    assert RECORDED["passed"][0].data == {"poison": "arsenic"}
    assert stats["dropped"].reasons == {"filtered: drop: no": 1}
    assert stats["broken"].reasons == {"failed: picky raised KeyError": 1}
    assert stats["none"].reasons == {"failed: returns raised TypeError": 1}
    assert stats["other"].reasons == {"failed: returns raised ValueError": 1}
    assert [stats[key].failed for key in ("broken", "none", "list", "other")] == [1, 1, 1, 1]


def test_the_root_chain_counts_at_the_root() -> None:
    """What the root chain drops reaches no route."""
    made = Tracker.from_config({"processors": [{"plugin": "drop"}], "backends": {"a": recording()}})
    made.emit("x")
    assert (made.stats()[""].filtered, made.stats()["a"].received) == (1, 0)


def test_a_name_decider_is_asked_once_per_name() -> None:
    """Core remembers the answers of `accepts`, and calls the processor for what it accepts."""
    from eventtracking_fakes import ByName

    ByName.asked.clear()
    made = make(a=recording(processors=[{"plugin": "by_name", "name": "yes"}]))
    for _ in range(3):
        made.emit("yes")
        made.emit("no")
    assert ByName.asked == ["yes", "no"]
    assert (made.stats()["a"].delivered, made.stats()["a"].filtered) == (3, 3)


def test_without_a_config_emits_are_counted_and_warned_of_once() -> None:
    """Before `configure` and after `close` an emit is a counted no-op with one warning."""
    made = Tracker()
    with pytest.warns(EventLossWarning, match="not configured"):
        made.emit("x")
    made.emit("y")  # where warnings are errors, a second one would fail the test
    assert made.stats()[""].failed == 2


def test_after_close_emits_are_counted_and_warned_of_once() -> None:
    """And the warning does not raise where warnings are errors."""
    made = make(a=recording())
    made.close()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made.emit("x")
    assert made.stats()[""].reasons == {"failed: the tracker is closed": 1}


def test_backends_open_on_first_use_and_close_once() -> None:
    """Nothing is opened at config time; flush and close reach open backends only; closing twice is
    closing once.
    """
    made = make(a=recording())
    assert CALLS[""] == []
    made.emit("x")
    made.emit("y")
    assert CALLS[""] == ["open"]
    made.close()
    made.close()
    assert CALLS[""] == ["open", "flush", "close"]


def test_flush_opens_so_that_what_was_left_is_delivered() -> None:
    """A router may hold what an earlier process left."""
    made = make(a=recording())
    assert made.flush(1.0)
    assert CALLS[""] == ["open", "flush"]


def test_submit_keeps_what_the_event_has() -> None:
    """A replayed event keeps its id, time and context, and is copied."""
    made = make(a=recording())
    moment = datetime(2020, 1, 1, tzinfo=timezone.utc)
    event = Event(
        id="1", name="x", timestamp=moment, context={"c": 1}, data={"d": [1]}, extra={"e": 1}
    )
    made.submit(event)
    event.data["d"].append(2)
    assert RECORDED[""] == [
        Event(id="1", name="x", timestamp=moment, context={"c": 1}, data={"d": [1]}, extra={"e": 1})
    ]


def test_an_emit_from_inside_a_backend_is_sent_by_the_call_that_it_interrupted() -> None:
    """It neither recurses nor gets lost, and `send` is not entered twice."""
    depth: list[int] = []
    made = make(a={"plugin": "failing"}, b=recording())

    def action(events: Any) -> None:
        depth.append(1)
        assert len(depth) == 1
        if events[0].name == "outer":
            made.emit("inner")
            assert made.stats()[""].pending == 2
        depth.pop()

    ACTIONS[""] = action
    made.emit("outer")
    assert [event.name for event in RECORDED[""]] == ["outer", "inner"]
    assert made.stats()["a"].delivered == 2


def test_thousands_of_emits_at_once_inside_an_emit_all_arrive() -> None:
    """As when a collection of garbage destroys that many objects whose destructors emit."""
    made = make(a={"plugin": "failing"})

    def action(events: Any) -> None:
        for _ in range(5_000 if events[0].name == "outer" else 0):
            made.emit("inner")

    ACTIONS[""] = action
    made.emit("outer")
    assert made.stats()[""].delivered == 5_001


def test_a_backend_that_answers_every_emit_with_an_emit_is_stopped_and_counted() -> None:
    """An endless conversation ends, and its last event is counted as failed."""
    made = make(a={"plugin": "failing"})
    ACTIONS[""] = lambda events: made.emit("again")
    made.emit("first")
    stats = made.stats()[""]
    assert stats.reasons == {"failed: emits answer emits without end": 1}
    assert stats.received == stats.delivered + 1


def test_many_threads_add_up() -> None:
    """The law holds at any moment while eight threads emit, and nothing is lost in the end."""
    ACTIONS[""] = lambda events: None
    made = make(
        a={"plugin": "failing"}, b=recording(processors=[{"plugin": "by_name", "name": "even"}])
    )
    stop = threading.Event()
    seen: list[bool] = []

    def emit_500(_: int) -> None:
        for number in range(500):
            made.emit("even" if number % 2 else "odd")

    def watch() -> None:
        while not stop.is_set():
            seen.extend(counts.balanced for counts in made.stats().values())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(emit_500, range(8)))
    finally:
        stop.set()
        watcher.join()
    stats = made.stats()
    assert seen
    assert all(seen)
    assert (
        stats[""].delivered,
        stats["a"].delivered,
        stats["b"].delivered,
        stats["b"].filtered,
    ) == (
        4000,
        4000,
        2000,
        2000,
    )


def test_the_default_tracker_is_configured_in_place() -> None:
    """Who took the default tracker before `configure` has the configured one."""
    early = tracker.get_tracker()
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        made = eventtracking.configure({"backends": {"a": recording()}})
    assert made is early is tracker.get_tracker()
    tracker.emit("x", {"a": 1})
    with tracker.context({"c": 1}):
        tracker.emit("y")
    assert [(e.name, e.context) for e in RECORDED[""]] == [("x", {}), ("y", {"c": 1})]
    made.close()


def test_an_unknown_tracker_is_named() -> None:
    """The error says which there are."""
    with pytest.raises(KeyError, match="no tracker named 'other' is registered; there are default"):
        tracker.get_tracker("other")


def test_the_log_is_told_at_the_end_what_was_lost_and_where_the_code_broke(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """On the way of an event nothing is logged; at close each reason is, once, with the line of a
    plugin that broke.
    """
    nothing: dict[str, None] = {}
    ACTIONS[""] = lambda events: nothing[events[0].name]
    made = Tracker.from_config(
        {"processors": [{"plugin": "picky"}], "backends": {"a": {"plugin": "failing"}}}
    )
    for data in ({}, {}, {"poison": 1}):
        made.emit("x", data)
    assert "picky" not in caplog.text
    with caplog.at_level(logging.WARNING):  # whatever another test has made of the root logger
        made.close()
        made.close()
    said = [
        re.sub(r":\d+\)", ":N)", record.getMessage())
        for record in caplog.records
        if record.name == "eventtracking"
    ]
    assert said == [
        "route '': 1 event failed: picky raised KeyError (last at eventtracking_fakes.py:N)",
        "route 'a': 2 events failed: KeyError (last at eventtracking_fakes.py:N)",
    ]


def test_while_a_backend_cannot_be_opened_the_cause_is_told() -> None:
    """Also of the events that come before it is opened again."""
    made = Tracker.from_config({"backends": {"a": {"plugin": "unopenable"}}})
    made.emit("x")
    made.emit("x")
    assert dict(made.stats()["a"].reasons) == {
        "failed: DeliveryError: the door is locked": 1,
        "failed: DeliveryError: open() failed a moment ago: DeliveryError: the door is locked": 1,
    }
