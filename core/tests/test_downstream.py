"""The contract between a router and the routes below it, with a router of the tests' own."""

from __future__ import annotations

from typing import Any

import pytest
from eventtracking_fakes import ACTIONS, CALLS, RECORDED, ROUTERS, Holding, fail, reject

from eventtracking import Counts, Event, Outcome, Rejected, Tracker

P, D = Outcome.PENDING, Outcome.DELIVERED


def holding(**backends: Any) -> tuple[Tracker, Holding]:
    made = Tracker.from_config({"backends": {"r": {"plugin": "holding", "backends": backends}}})
    return made, ROUTERS[""]


def deferring(**backends: Any) -> tuple[Tracker, Any]:
    """A router that delivers when the test says so, and keeps the counts."""
    node = {"plugin": "deferring", "key": "r", "backends": backends}
    return Tracker.from_config({"backends": {"r": node}}), ROUTERS["r"]


def failing(key: str = "f") -> dict[str, Any]:
    return {"plugin": "failing", "key": key}


def recording(key: str = "ok", **node: Any) -> dict[str, Any]:
    return {"plugin": "recording", "key": key, **node}


def figures(counts: Counts) -> dict[str, int]:
    names = ("received", "delivered", "filtered", "failed", "dead_lettered", "pending")
    return {name: getattr(counts, name) for name in names if getattr(counts, name)}


def check_law(made: Tracker) -> None:
    assert all(counts.balanced for counts in made.stats().values()), made.stats()


def test_a_downstream_knows_its_place() -> None:
    """It tells its path, the leaves below (those below a router that passes through, too), the
    lanes that may be served apart, the children, and the routers above.
    """
    config = {
        "backends": {
            "top": {
                "plugin": "holding",
                "key": "top",
                "backends": {
                    "g": {"backends": {"a": recording()}},
                    "inner": {"plugin": "passing", "key": "inner", "backends": {"b": recording()}},
                },
            }
        }
    }
    Tracker.from_config(config)
    top, inner = ROUTERS["top"].downstream, ROUTERS["inner"].downstream
    assert (top.path, top.leaves, top.above) == ("top", ("top/g/a", "top/inner/b"), ())
    assert top.lanes == {"top/g/a": ("top/g/a",), "top/inner": ("top/inner/b",)}
    assert top.children == {"g": "top/g", "inner": "top/inner"}
    assert list(top.routes.groups) == ["top/g", "top/inner"]
    assert (inner.path, inner.leaves, inner.above) == ("top/inner", ("top/inner/b",), ("holding",))


def test_children_are_isolated_and_what_failed_is_returned() -> None:
    """A failed child is pending with its error; its sibling has delivered."""
    error = OSError("down")
    ACTIONS["f"] = fail(error)
    made, router = holding(bad=failing(), good=recording())
    event = Event(name="x")
    failures = router.downstream.deliver([event])
    assert failures == {"r/bad": {event.id: error}}
    assert failures.outcomes == {"r/bad": {event.id: P}, "r/good": {event.id: D}}
    assert figures(made.stats()["r/good"]) == {}, "the router counts, core does not"


def test_a_retry_goes_only_where_it_failed() -> None:
    """`only` names the leaf, and the answer is of that leaf alone."""
    ACTIONS["f"] = fail(OSError())
    _, router = holding(bad=failing(), good=recording())
    event = Event(name="x")
    router.downstream.deliver([event])
    ACTIONS["f"] = lambda events: None
    failures = router.downstream.deliver([event], only={"r/bad"})
    assert (failures, failures.outcomes) == ({}, {"r/bad": {event.id: D}})
    assert len(RECORDED["ok"]) == 1


def test_rejections_are_told_apart_from_errors() -> None:
    """A `Rejected` in the answer is final, and concerns only the events that it names."""
    _, router = holding(bad=failing())
    good, bad = Event(name="good"), Event(name="bad")
    ACTIONS["f"] = fail(Rejected({bad.id: "too large"}))
    failures = router.downstream.deliver([good, bad])
    assert list(failures["r/bad"]) == [bad.id]
    assert isinstance(failures["r/bad"][bad.id], Rejected)
    assert failures.outcomes["r/bad"] == {good.id: D, bad.id: P}


def test_a_group_answers_by_its_worst_child() -> None:
    """Pending while any child is, also in the delivery to one leaf alone."""
    ACTIONS["f"] = fail(OSError())
    _, router = holding(group={"backends": {"f": failing(), "ok": recording()}})
    event = Event(name="x")
    assert router.downstream.deliver([event]).outcomes["r/group"] == {event.id: P}
    answer = router.downstream.deliver([event], only=["r/group/ok"], first=True)
    assert answer.outcomes == {"r/group/ok": {event.id: D}, "r/group": {event.id: D}}
    assert answer.standing(event.id) == {"r/group/ok": D}, "a group's outcome follows from below"


def test_processors_below_a_router() -> None:
    """Events that a group's or a leaf's processors end are final there, with the reason."""
    _, router = holding(
        group={"processors": [{"plugin": "drop"}], "backends": {"a": recording("a")}},
        leaf=recording("b", processors=[{"plugin": "picky"}]),
    )
    event = Event(name="x", data={"poison": 1})
    answer = router.downstream.deliver([event])
    assert answer.standing(event.id) == {
        "r/group": Outcome.FILTERED,
        "r/group/a": Outcome.FILTERED,
        "r/leaf": Outcome.FAILED,
    }
    assert answer.reasons["r/group"] == {"filtered: drop: not wanted": 1}
    assert list(answer.reasons) == ["r/group", "r/leaf"]
    assert not RECORDED


def test_a_group_that_drops_on_a_retry_ends_the_event_at_its_leaf() -> None:
    """A group's processors run again on a retry; an event dropped then is pending no more."""
    ACTIONS["f"] = fail(OSError())
    made, router = deferring(
        group={"processors": [{"plugin": "picky"}], "backends": {"f": failing()}}
    )
    made.emit("x")
    router.deliver()
    router.held = {key: e.replace(data={"poison": 1}) for key, e in router.held.items()}
    router.deliver()
    for path in ("r", "r/group", "r/group/f"):
        assert figures(made.stats()[path]) == {"received": 1, "failed": 1}, path


def test_lanes_that_take_turns_count_each_event_once() -> None:
    """The first leaf enters it at the group, the last one settles it there and at the router."""
    leaves = {name: recording(name) for name in "ab"}
    made, router = deferring(g={"backends": leaves}, d=recording("d"))
    made.emit("x")
    router.deliver("r/g/a")
    assert figures(made.stats()["r/g"]) == {"received": 1, "pending": 1}
    assert figures(made.stats()["r/g/b"]) == {}
    for lane in ("r/g/b", "r/d", "r/g/a"):
        router.deliver(lane)
    for path in ("r", "r/g", "r/g/a", "r/g/b", "r/d"):
        assert figures(made.stats()[path]) == {"received": 1, "delivered": 1}, path
    assert [len(RECORDED[key]) for key in "abd"] == [1, 1, 1]


def test_an_event_dropped_by_a_groups_chain_for_one_lane_is_dropped_for_the_others() -> None:
    """The group counts it once, its leaves never receive it, and each lane is asked."""
    leaves = {name: recording(name) for name in "ab"}
    made, router = deferring(g={"processors": [{"plugin": "drop"}], "backends": leaves})
    made.emit("x")
    router.deliver("r/g/a")
    assert router.held
    router.deliver("r/g/b")
    stats = made.stats()
    assert figures(stats["r/g"]) == figures(stats["r"]) == {"received": 1, "filtered": 1}
    assert (figures(stats["r/g/a"]), figures(stats["r/g/b"])) == ({}, {})


def test_a_router_that_counts_itself_is_counted_once() -> None:
    """Core adds only what the router's own processors ended and what its `send` refused."""
    node = {
        "plugin": "holding",
        "processors": [{"plugin": "by_name", "name": "yes"}],
        "backends": {"a": recording()},
    }
    made = Tracker.from_config({"backends": {"r": node}})
    made.emit("yes")
    made.emit("no")
    assert figures(made.stats()["r"]) == {"received": 2, "pending": 1, "filtered": 1}
    ROUTERS[""].refusing = True
    made.emit("yes")
    assert figures(made.stats()["r"]) == {"received": 3, "pending": 1, "filtered": 1, "failed": 1}
    check_law(made)


def test_a_nested_router_that_counts_itself_moves_from_pending_when_it_takes_over() -> None:
    """Refused at first, it is pending above; once taken, only the nested router counts it."""
    inner = {"plugin": "holding", "key": "inner", "backends": {"a": recording()}}
    made, outer = deferring(inner=inner)
    nested = ROUTERS["inner"]
    nested.refusing = True
    made.emit("x")
    assert list(outer.deliver()) == ["r/inner"]
    assert figures(made.stats()["r/inner"]) == {"received": 1, "pending": 1}
    nested.refusing = False
    assert outer.deliver() == {}
    assert figures(made.stats()["r/inner"]) == {"received": 1, "pending": 1}
    assert len(nested.held) == 1
    check_law(made)


def test_a_path_resolves_to_its_downstream() -> None:
    """A worker finds the routes below a router by its path, and learns which there are if it does
    not.
    """
    made, router = holding(a=recording())
    assert made.downstream("r") is router.downstream
    with pytest.raises(KeyError, match="no router at 'x'; the routers of this config are r"):
        made.downstream("x")


def test_backends_below_a_router_open_on_their_first_delivery_and_again_after_a_failure() -> None:
    """A failed open is a failed send, tried again with the next delivery."""
    _, router = holding(a=recording("a"))
    router.downstream.deliver([Event(name="x")])
    router.downstream.deliver([Event(name="y")])
    assert CALLS["a"] == ["open"]


def test_an_emit_from_a_worker_thread_inside_a_delivery_is_kept() -> None:
    """A backend below a router whose library emits does not lose that event."""
    made = Tracker.from_config(
        {
            "backends": {
                "r": {"plugin": "holding", "backends": {"f": failing()}},
                "log": recording("log"),
            }
        }
    )
    ACTIONS["f"] = lambda events: made.emit("from inside")
    ROUTERS[""].downstream.deliver([Event(name="x")])
    assert [event.name for event in RECORDED["log"]] == ["from inside"]
    check_law(made)


def test_a_rejection_of_everything_leaves_all_pending_for_the_router() -> None:
    """Whether they are dead letters is the router's to say."""
    ACTIONS["f"] = reject("bad")
    _, router = holding(f=failing())
    events = [Event(name="x"), Event(name="y")]
    answer = router.downstream.deliver(events)
    assert set(answer["r/f"]) == {event.id for event in events}
    assert set(answer.outcomes["r/f"].values()) == {P}
