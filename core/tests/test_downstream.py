"""The contract between a router and the routes below it, with a router of the tests' own."""

from __future__ import annotations

import json
from typing import Any

import pytest
from eventtracking_fakes import ACTIONS, CALLS, RECORDED, ROUTERS, Holding, fail, reject

from eventtracking import Counts, Event, Outcome, Rejected, Tracker


def holding(**backends: Any) -> tuple[Tracker, Holding]:
    made = Tracker.from_config({"backends": {"r": {"plugin": "holding", "backends": backends}}})
    return made, ROUTERS[""]


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
    """A failed child stays pending until its router settles it; a sibling has delivered."""
    error = OSError("down")
    ACTIONS["f"] = fail(error)
    made, router = holding(bad=failing(), good=recording())
    event = Event(name="x")
    failures = router.downstream.deliver([event])
    assert failures == {"r/bad": {event.id: error}}
    assert failures.finished == {}
    assert figures(made.stats()["r/bad"]) == {"received": 1, "pending": 1}
    assert figures(made.stats()["r/good"]) == {"received": 1, "delivered": 1}


def test_a_retry_goes_only_where_it_failed_and_is_not_received_again() -> None:
    """`only` names the leaf; the outcome moves from pending to delivered."""
    ACTIONS["f"] = fail(OSError())
    made, router = holding(bad=failing(), good=recording())
    event = Event(name="x")
    router.downstream.deliver([event])
    ACTIONS["f"] = lambda events: None
    failures = router.downstream.deliver([event], only={"r/bad"})
    assert failures == {}
    assert failures.finished == {event.id: Outcome.DELIVERED}
    assert figures(made.stats()["r/bad"]) == {"received": 1, "delivered": 1}
    assert len(RECORDED["ok"]) == 1


def test_rejections_are_told_apart_from_errors() -> None:
    """A `Rejected` in the answer is final, and concerns only the events that it names."""
    made, router = holding(bad=failing())
    good, bad = Event(name="good"), Event(name="bad")

    def action(events: Any) -> None:
        raise Rejected({bad.id: "too large"})

    ACTIONS["f"] = action
    failures = router.downstream.deliver([good, bad])
    assert list(failures["r/bad"]) == [bad.id]
    assert isinstance(failures["r/bad"][bad.id], Rejected)
    assert failures.finished == {good.id: Outcome.DELIVERED}
    assert router.downstream.settle("r/bad", [bad.id], Outcome.DEAD_LETTERED, "too large") == {
        bad.id: Outcome.DEAD_LETTERED
    }
    assert figures(made.stats()["r/bad"]) == {"received": 2, "delivered": 1, "dead_lettered": 1}
    assert made.stats()["r/bad"].reasons == {"dead_lettered: too large": 1}


def test_a_group_counts_an_event_by_its_worst_child() -> None:
    """Pending while any child is; then the worst outcome, also when it came first."""
    ACTIONS["f"] = fail(OSError())
    ACTIONS["g"] = fail(OSError())
    made, router = holding(
        group={"backends": {"f": failing("f"), "g": failing("g"), "ok": recording()}}
    )
    event = Event(name="x")
    router.downstream.deliver([event])
    assert figures(made.stats()["r/group"]) == {"received": 1, "pending": 1}
    assert router.downstream.settle("r/group/f", [event.id], Outcome.FAILED) == {}
    assert figures(made.stats()["r/group"]) == {"received": 1, "pending": 1}
    ACTIONS["g"] = lambda events: None
    assert router.downstream.deliver([event], only=["r/group/g"]).finished == {
        event.id: Outcome.FAILED
    }
    assert figures(made.stats()["r/group"]) == {"received": 1, "failed": 1}


def test_processors_below_a_router() -> None:
    """What a group's or a leaf's processors end is final there, and not received below."""
    made, router = holding(
        group={"processors": [{"plugin": "drop"}], "backends": {"a": recording("a")}},
        leaf=recording("b", processors=[{"plugin": "picky"}]),
    )
    event = Event(name="x", data={"poison": 1})
    assert router.downstream.deliver([event]).finished == {event.id: Outcome.FAILED}
    stats = made.stats()
    assert figures(stats["r/group"]) == {"received": 1, "filtered": 1}
    assert figures(stats["r/group/a"]) == {}
    assert figures(stats["r/leaf"]) == {"received": 1, "failed": 1}


def test_a_group_that_drops_on_a_retry_ends_the_event_at_its_leaf() -> None:
    """A group's processors run again on a retry; what they drop then is pending no more."""
    ACTIONS["f"] = fail(OSError())
    made, router = holding(
        group={"processors": [{"plugin": "picky"}], "backends": {"f": failing()}}
    )
    event = Event(name="x")
    router.downstream.deliver([event])
    poisoned = event.replace(data={"poison": 1})
    assert router.downstream.deliver([poisoned], only=["r/group/f"]).finished == {
        event.id: Outcome.FAILED
    }
    assert figures(made.stats()["r/group/f"]) == {"received": 1, "failed": 1}
    assert figures(made.stats()["r/group"]) == {"received": 1, "failed": 1}


def test_an_event_that_every_child_filters_is_filtered() -> None:
    """The router learns it, to count the same for itself."""
    _, router = holding(a=recording(processors=[{"plugin": "drop"}]))
    event = Event(name="x")
    assert router.downstream.deliver([event]).finished == {event.id: Outcome.FILTERED}


def test_dead_letters_are_reopened_for_a_replay() -> None:
    """Replaying moves dead_lettered to pending, at the leaf and its groups; the end is counted
    once.
    """
    ACTIONS["f"] = fail(OSError())
    made, router = holding(group={"backends": {"f": failing(), "ok": recording()}})
    event = Event(name="x")
    router.downstream.deliver([event])
    router.downstream.settle("r/group/f", [event.id], Outcome.DEAD_LETTERED)
    assert figures(made.stats()["r/group"]) == {"received": 1, "dead_lettered": 1}
    router.downstream.reopen("r/group/f", [event.id])
    assert figures(made.stats()["r/group"]) == {"received": 1, "pending": 1}
    ACTIONS["f"] = lambda events: None
    router.downstream.deliver([event], only=["r/group/f"])
    assert figures(made.stats()["r/group/f"]) == {"received": 1, "delivered": 1}
    assert figures(made.stats()["r/group"]) == {"received": 1, "delivered": 1}


def test_unfinished_events_move_to_another_process() -> None:
    """What is forgotten here and adopted there counts once, and keeps what its siblings
    had become.
    """
    ACTIONS["f"] = fail(OSError())
    here, from_router = holding(group={"backends": {"f": failing(), "ok": recording()}})
    there, to_router = holding(group={"backends": {"f": failing(), "ok": recording()}})
    event = Event(name="x")
    from_router.downstream.deliver([event])
    progress = from_router.downstream.progress([event.id])
    assert progress == {event.id: {"r/group/f": Outcome.PENDING, "r/group/ok": Outcome.DELIVERED}}
    from_router.downstream.forget([event.id])
    assert figures(here.stats()["r/group/f"]) == {}
    assert figures(here.stats()["r/group"]) == {}
    to_router.downstream.adopt(json.loads(json.dumps(progress)), received=True)
    assert figures(there.stats()["r/group/f"]) == {"received": 1, "pending": 1}
    ACTIONS["f"] = lambda events: None
    finished = to_router.downstream.deliver([event], only=["r/group/f"]).finished
    assert finished == {event.id: Outcome.DELIVERED}
    assert figures(there.stats()["r/group"]) == {"received": 1, "delivered": 1}
    check_law(here)
    check_law(there)


def test_counts_can_be_taken_into_a_store() -> None:
    """What is taken is taken once, signed, so that the sum over all takings is right."""
    ACTIONS["f"] = fail(OSError())
    _, router = holding(f=failing())
    event = Event(name="x")
    router.downstream.deliver([event])
    first = router.downstream.take_counts()["r/f"]
    ACTIONS["f"] = lambda events: None
    router.downstream.deliver([event], only=["r/f"])
    second = router.downstream.take_counts()["r/f"]
    assert (first.pending, second.pending) == (1, -1)
    assert figures(first + second) == {"received": 1, "delivered": 1}
    assert router.downstream.take_counts()["r/f"] == Counts()


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
    made = Tracker.from_config(
        {"backends": {"r": {"plugin": "holding", "key": "outer", "backends": {"inner": inner}}}}
    )
    outer, nested = ROUTERS["outer"], ROUTERS["inner"]
    nested.refusing = True
    event = Event(name="x")
    assert list(outer.downstream.deliver([event])) == ["r/inner"]
    nested.refusing = False
    assert figures(made.stats()["r/inner"]) == {"received": 1, "pending": 1}
    assert outer.downstream.deliver([event], only=["r/inner"]) == {}
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
    made, router = holding(f=failing())
    events = [Event(name="x"), Event(name="y")]
    assert set(router.downstream.deliver(events)["r/f"]) == {event.id for event in events}
    assert figures(made.stats()["r/f"]) == {"received": 2, "pending": 2}
