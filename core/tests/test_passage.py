"""Routers that pass through, alone and below one that holds; every number has one owner."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from eventtracking_fakes import ACTIONS, RECORDED, ROUTERS, fail

from eventtracking import ConfigError, Counts, DeliveryError, Event, Outcome, Tracker
from eventtracking.errors import pause_of
from eventtracking.protocols import Downstream, Failures

P, D, F, X = Outcome.PENDING, Outcome.DELIVERED, Outcome.FILTERED, Outcome.FAILED


def recording(key: str, **node: Any) -> dict[str, Any]:
    return {"plugin": "recording", "key": key, **node}


def failing(key: str, **node: Any) -> dict[str, Any]:
    return {"plugin": "failing", "key": key, **node}


def figures(counts: Counts) -> dict[str, int]:
    names = ("received", "delivered", "filtered", "failed", "dead_lettered", "pending")
    return {name: getattr(counts, name) for name in names if getattr(counts, name)}


def check_law(made: Tracker) -> None:
    assert all(counts.balanced for counts in made.stats().values()), made.stats()


def passing(**backends: Any) -> dict[str, Any]:
    return {"plugin": "passing", "key": "p", "backends": backends}


def below(**backends: Any) -> tuple[Tracker, Any]:
    """A router that passes through, below one that holds."""
    node = {"plugin": "deferring", "key": "h", "backends": {"p": passing(**backends)}}
    made = Tracker.from_config({"backends": {"h": node}})
    return made, ROUTERS["h"]


def pick(name: str) -> Any:
    return lambda downstream, events: downstream.deliver(events, only=[downstream.children[name]])


def fall_back(downstream: Downstream, events: Sequence[Event]) -> None:
    """Try the children in turn, until one has taken an event."""
    left, tried = list(events), list[str]()
    for path in downstream.children.values():
        answer = downstream.deliver(left, only=[path]) if left else Failures()
        found = answer.outcomes.get(path, {})
        taken = [event.id for event in left if found.get(event.id, P) is not P]
        for other in tried:
            downstream.skip(other, taken, "another took it")
        left = [event for event in left if event.id not in taken]
        tried.append(path)


# Without a router above


def test_alone_it_counts_by_its_worst_child() -> None:
    """What failed below is failed, there and at the router, and nothing stays pending."""
    ACTIONS["b"] = fail(OSError())
    made = Tracker.from_config({"backends": {"p": passing(a=recording("a"), b=failing("b"))}})
    made.emit("x")
    stats = made.stats()
    assert figures(stats["p/a"]) == {"received": 1, "delivered": 1}
    assert figures(stats["p/b"]) == figures(stats["p"]) == {"received": 1, "failed": 1}
    assert stats["p/b"].reasons == {"failed: OSError": 1}
    assert figures(stats[""]) == {"received": 1, "failed": 1}


def test_alone_a_child_that_is_given_nothing_has_filtered() -> None:
    """It says that it was not chosen; below a group nothing is received."""
    group = {"backends": {"c": recording("c")}}
    made = Tracker.from_config(
        {"backends": {"p": passing(a=recording("a"), b=recording("b"), g=group)}}
    )
    ROUTERS["p"].act = pick("a")
    for _ in range(3):
        made.emit("x")
    stats = made.stats()
    assert figures(stats["p"]) == figures(stats["p/a"]) == {"received": 3, "delivered": 3}
    assert figures(stats["p/b"]) == figures(stats["p/g"]) == {"received": 3, "filtered": 3}
    assert stats["p/b"].reasons == {"filtered: not chosen": 3}
    assert figures(stats["p/g/c"]) == {}


def test_alone_one_that_falls_back_has_delivered() -> None:
    """The child that failed is skipped with a reason, so the event is lost nowhere."""
    ACTIONS["a"] = fail(OSError())
    nodes = {"a": failing("a"), "b": recording("b"), "c": recording("c")}
    made = Tracker.from_config({"backends": {"p": passing(**nodes)}})
    ROUTERS["p"].act = fall_back
    made.emit("x")
    stats = made.stats()
    assert figures(stats["p/a"]) == figures(stats["p/c"]) == {"received": 1, "filtered": 1}
    assert figures(stats["p/b"]) == figures(stats["p"]) == {"received": 1, "delivered": 1}
    assert stats["p/a"].reasons == {"filtered: another took it": 1}


def test_alone_a_second_try_within_a_send_is_not_received_again() -> None:
    """A router may retry by itself; the last outcome counts."""
    ACTIONS["a"] = fail(OSError())
    made = Tracker.from_config({"backends": {"p": passing(a=failing("a"))}})

    def twice(downstream: Downstream, events: Sequence[Event]) -> None:
        assert downstream.deliver(events).outcomes["p/a"] == {events[0].id: P}
        ACTIONS["a"] = lambda events: None
        assert downstream.deliver(events, only=["p/a"]) == {}

    ROUTERS["p"].act = twice
    made.emit("x")
    assert figures(made.stats()["p/a"]) == {"received": 1, "delivered": 1}


def test_alone_one_that_breaks_has_failed() -> None:
    """Children that had the event keep their outcome, and the reason stands at the router."""
    made = Tracker.from_config({"backends": {"p": passing(a=recording("a"), b=recording("b"))}})

    def half(downstream: Downstream, events: Sequence[Event]) -> None:
        pick("a")(downstream, events)
        raise DeliveryError("broke in the middle")

    ROUTERS["p"].act = half
    made.emit("x")
    stats = made.stats()
    assert figures(stats["p"]) == {"received": 1, "failed": 1}
    assert stats["p"].reasons == {"failed: DeliveryError: broke in the middle": 1}
    assert figures(stats["p/a"]) == {"received": 1, "delivered": 1}
    check_law(made)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_alone_what_is_no_exception_goes_on_and_is_counted(error: type[BaseException]) -> None:
    """The sibling has the event, nothing stays pending."""
    ACTIONS["a"] = fail(error())
    made = Tracker.from_config({"backends": {"p": passing(a=failing("a"), b=recording("b"))}})
    with pytest.raises(error):
        made.emit("x")
    stats = made.stats()
    assert figures(stats["p/a"]) == figures(stats["p"]) == {"received": 1, "failed": 1}
    assert figures(stats["p/b"]) == {"received": 1, "delivered": 1}


# Below a router that holds


def test_below_it_only_what_failed_comes_again() -> None:
    """The sibling has each event once, and the ledgers of core count nothing twice."""
    ACTIONS["b"] = fail(OSError("down"))
    made, holder = below(a=recording("a"), b=failing("b"))
    for _ in range(20):
        made.emit("x")
    answer = holder.deliver()
    assert set(answer) == {"h/p/b"}
    assert set(answer.outcomes["h/p"].values()) == {P}
    assert figures(made.stats()["h/p"]) == {"received": 20, "pending": 20}
    ACTIONS["b"] = lambda events: None
    assert holder.deliver() == {}
    assert len(RECORDED["a"]) == 20
    stats = made.stats()
    for path in ("h", "h/p", "h/p/a", "h/p/b"):
        assert figures(stats[path]) == {"received": 20, "delivered": 20}, path


def test_below_it_one_that_picks_filters_the_others() -> None:
    """On a retry, a pending leaf that is not reached stays pending."""
    ACTIONS["a"] = fail(OSError())
    made, holder = below(a=failing("a"), b=recording("b"))
    ROUTERS["p"].act = pick("a")
    made.emit("x")
    holder.deliver()
    assert figures(made.stats()["h/p/b"]) == {"received": 1, "filtered": 1}
    assert made.stats()["h/p/b"].reasons == {"filtered: not chosen": 1}
    ROUTERS["p"].act = pick("b")
    holder.deliver()
    assert figures(made.stats()["h/p/a"]) == {"received": 1, "pending": 1}
    assert not RECORDED["b"]


def test_below_it_one_that_falls_back_ends_where_it_arrived() -> None:
    """While all fail, all are pending; then one takes the event and the others are filtered."""
    ACTIONS["a"] = ACTIONS["b"] = fail(OSError())
    made, holder = below(a=failing("a"), b=failing("b"))
    ROUTERS["p"].act = fall_back
    made.emit("x")
    assert set(holder.deliver()) == {"h/p/a", "h/p/b"}
    ACTIONS["b"] = lambda events: None
    assert holder.deliver() == {}
    stats = made.stats()
    assert figures(stats["h/p/a"]) == {"received": 1, "filtered": 1}
    assert figures(stats["h/p/b"]) == figures(stats["h"]) == {"received": 1, "delivered": 1}


def test_below_it_one_that_breaks_fails_each_leaf_not_reached() -> None:
    """With its own error, and the pause that it asks for; what was reached is known."""
    made, holder = below(a=recording("a"), b=recording("b"))

    def half(downstream: Downstream, events: Sequence[Event]) -> None:
        pick("a")(downstream, events)
        raise DeliveryError("wait", retry_after_s=7.0)

    ROUTERS["p"].act = half
    made.emit("x")
    answer = holder.deliver()
    assert (set(answer), answer.pauses) == ({"h/p/b"}, {"h/p/b": 7.0})
    ROUTERS["p"].act = None
    assert holder.deliver() == {}
    assert len(RECORDED["a"]) == len(RECORDED["b"]) == 1
    check_law(made)


@pytest.mark.parametrize("act", [None, fall_back])
def test_below_it_a_paused_leaf_is_not_tried(act: Any) -> None:
    """It fails with the pause that is left, so that the router decides as if it had been asked."""
    made, holder = below(a=recording("a"), b=recording("b"))
    ROUTERS["p"].act = act
    event, answer = Event(name="x"), Failures()
    answer.pauses["h/p/a"] = 7.0
    holder.downstream.deliver([event], into=answer)
    assert (RECORDED["a"], len(RECORDED["b"])) == ([], 1)
    assert answer.outcomes["h/p/b"] == {event.id: D}
    if act is None:
        assert answer.outcomes["h/p/a"] == {event.id: P}
        assert pause_of(answer["h/p/a"][event.id]) == 7.0
    else:
        assert (answer, answer.outcomes["h/p/a"]) == ({}, {event.id: F})
    check_law(made)


def test_below_it_a_settled_event_is_final() -> None:
    """A router that settles within its `send` keeps the one above from trying again."""
    ACTIONS["a"] = fail(OSError())
    made, holder = below(a=failing("a"))

    def give_up(downstream: Downstream, events: Sequence[Event]) -> None:
        for leaf, errors in downstream.deliver(events).items():
            downstream.settle(leaf, list(errors), Outcome.FAILED, "given up")

    ROUTERS["p"].act = give_up
    made.emit("x")
    assert holder.deliver() == {}
    assert figures(made.stats()["h/p/a"]) == {"received": 1, "failed": 1}
    assert made.stats()["h/p/a"].reasons == {"failed: given up": 1}


def test_routers_that_pass_through_nest() -> None:
    """Each joins the one above, at any depth, below groups and with processors."""
    ACTIONS["b"] = fail(OSError())
    inner = {"plugin": "passing", "key": "q", "backends": {"a": recording("a"), "b": failing("b")}}
    picky = {"processors": [{"plugin": "picky"}], "backends": {"q": inner}}
    made, holder = below(g=picky)
    made.emit("x")
    made.emit("x", {"poison": 1})
    holder.deliver()
    ACTIONS["b"] = lambda events: None
    holder.deliver()
    stats = made.stats()
    assert len(RECORDED["a"]) == 1
    for path in ("h", "h/p", "h/p/g"):
        assert figures(stats[path]) == {"received": 2, "delivered": 1, "failed": 1}, path
    for path in ("h/p/g/q", "h/p/g/q/a", "h/p/g/q/b"):
        assert figures(stats[path]) == {"received": 1, "delivered": 1}, path


def test_the_answer_is_right_when_something_passes_through() -> None:
    """An interrupted delivery tells every outcome in `into`: pending where it was interrupted."""
    ACTIONS["b"] = fail(KeyboardInterrupt())
    node = {"a": recording("a"), "b": failing("b"), "c": recording("c")}
    made = Tracker.from_config(
        {
            "backends": {
                "h": {"plugin": "deferring", "key": "h", "backends": {"g": {"backends": node}}}
            }
        }
    )
    event, answer = Event(name="x"), Failures()
    with pytest.raises(KeyboardInterrupt):
        ROUTERS["h"].downstream.deliver([event], into=answer)
    assert answer.outcomes == {
        "h/g/a": {event.id: D},
        "h/g/b": {event.id: P},
        "h/g/c": {event.id: D},
        "h/g": {event.id: P},
    }
    assert figures(made.stats()["h/g/a"]) == {}


# At config time


def test_a_refusal_in_bind_is_a_problem_with_its_path() -> None:
    """Every router is asked, and each problem names its place."""
    nodes = {
        "one": {
            "plugin": "passing",
            "refuses": "not below this",
            "backends": {"a": recording("a")},
        },
        "two": {"plugin": "passing", "refuses": "nor here", "backends": {"a": recording("a")}},
    }
    with pytest.raises(ConfigError) as caught:
        Tracker.from_config({"backends": nodes})
    assert [str(problem) for problem in caught.value.problems] == [
        "backends.one.refuses: not below this",
        "backends.two.refuses: nor here",
    ]
