"""A router that gives each leaf a thread of its own: `deliver(..., only={leaf}, first=True)`."""

from __future__ import annotations

import threading
from typing import Any

from eventtracking_fakes import ACTIONS, RECORDED, ROUTERS, Holding, fail

from eventtracking import Counts, Event, Outcome, Tracker
from eventtracking.protocols import Downstream


def holding(**backends: Any) -> tuple[Tracker, Downstream]:
    made = Tracker.from_config({"backends": {"r": {"plugin": "holding", "backends": backends}}})
    router: Holding = ROUTERS[""]
    return made, router.downstream


def recording(key: str, **node: Any) -> dict[str, Any]:
    return {"plugin": "recording", "key": key, **node}


def figures(counts: Counts) -> dict[str, int]:
    names = ("received", "delivered", "filtered", "failed", "dead_lettered", "pending")
    return {name: getattr(counts, name) for name in names if getattr(counts, name)}


def test_an_event_is_finished_when_every_leaf_has_had_it() -> None:
    """Each leaf receives it once, in its own time; only the last one finishes it."""
    made, below = holding(a=recording("a"), b=recording("b"))
    event = Event(name="x")
    assert below.deliver([event], only={"r/a"}, first=True).finished == {}
    assert figures(made.stats()["r/a"]) == {"received": 1, "delivered": 1}
    assert figures(made.stats()["r/b"]) == {}
    assert below.deliver([event], only={"r/b"}, first=True).finished == {
        event.id: Outcome.DELIVERED
    }
    assert (len(RECORDED["a"]), len(RECORDED["b"])) == (1, 1)


def test_a_group_receives_an_event_once_and_waits_for_all_its_leaves() -> None:
    """The first leaf enters it, the last one settles it, by the worst of them."""
    ACTIONS["f"] = fail(OSError())
    made, below = holding(
        g={"backends": {"a": recording("a"), "f": {"plugin": "failing", "key": "f"}}}
    )
    event = Event(name="x")
    below.deliver([event], only={"r/g/a"}, first=True)
    assert figures(made.stats()["r/g"]) == {"received": 1, "pending": 1}
    below.deliver([event], only={"r/g/f"}, first=True)
    assert figures(made.stats()["r/g"]) == {"received": 1, "pending": 1}
    assert below.settle("r/g/f", [event.id], Outcome.DEAD_LETTERED) == {
        event.id: Outcome.DEAD_LETTERED
    }
    assert figures(made.stats()["r/g"]) == {"received": 1, "dead_lettered": 1}


def test_what_a_groups_chain_drops_for_one_leaf_is_dropped_for_the_others() -> None:
    """The group counts it once, its leaves never receive it, and it is finished when each has been
    asked.
    """
    made, below = holding(
        g={
            "processors": [{"plugin": "drop"}],
            "backends": {"a": recording("a"), "b": recording("b")},
        }
    )
    event = Event(name="x")
    assert below.deliver([event], only={"r/g/a"}, first=True).finished == {}
    assert below.progress([event.id]) == {
        event.id: {"r/g": Outcome.FILTERED, "r/g/a": Outcome.FILTERED}
    }
    assert below.deliver([event], only={"r/g/b"}, first=True).finished == {
        event.id: Outcome.FILTERED
    }
    stats = made.stats()
    assert figures(stats["r/g"]) == {"received": 1, "filtered": 1}
    assert (figures(stats["r/g/a"]), figures(stats["r/g/b"])) == ({}, {})


def test_what_a_leaf_never_had_can_be_settled_there() -> None:
    """An event that a router gives up before a leaf has had it is received and failed there, in one
    step.
    """
    made, below = holding(g={"backends": {"a": recording("a"), "b": recording("b")}})
    event = Event(name="x")
    assert below.settle("r/g/a", [event.id], Outcome.FAILED, "buffer full") == {}
    assert figures(made.stats()["r/g/a"]) == {"received": 1, "failed": 1}
    assert figures(made.stats()["r/g"]) == {"received": 1, "pending": 1}
    assert below.deliver([event], only={"r/g/b"}, first=True).finished == {event.id: Outcome.FAILED}
    assert figures(made.stats()["r/g"]) == {"received": 1, "failed": 1}


def test_progress_between_leaves_moves_to_another_process() -> None:
    """What one leaf has had is not asked again; the books of the group go on where they stopped."""
    node = {"g": {"backends": {"a": recording("a"), "b": recording("b")}}}
    here, below = holding(**node)
    event = Event(name="x")
    below.deliver([event], only={"r/g/a"}, first=True)
    progress = below.progress([event.id])
    assert progress == {event.id: {"r/g/a": Outcome.DELIVERED}}
    below.forget([event.id])
    assert figures(here.stats()["r/g"]) == {}
    there, below = holding(**node)
    below.adopt({event.id: {**progress[event.id], "r/gone": Outcome.PENDING}}, received=True)
    assert figures(there.stats()["r/g"]) == {"received": 1, "pending": 1}
    assert below.deliver([event], only={"r/g/b"}, first=True).finished == {
        event.id: Outcome.DELIVERED
    }
    assert figures(there.stats()["r/g"]) == {"received": 1, "delivered": 1}


def test_leaves_on_threads_of_their_own_keep_the_books() -> None:
    """Many threads deliver the same events to different leaves at once, and every count
    is right.
    """
    leaves = {name: recording(name) for name in "abc"}
    made, below = holding(g={"backends": leaves}, d=recording("d"))
    events = [Event(name="x") for _ in range(300)]
    finished: list[dict[str, Outcome]] = []

    def run(leaf: str) -> None:
        batches = [events[start : start + 10] for start in range(0, len(events), 10)]
        finished.extend(below.deliver(batch, only={leaf}, first=True).finished for batch in batches)

    threads = [threading.Thread(target=run, args=(leaf,)) for leaf in below.leaves]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(key for found in finished for key in found) == sorted(
        event.id for event in events
    )
    stats = made.stats()
    for path in ("r/g", "r/g/a", "r/g/b", "r/g/c", "r/d"):
        assert figures(stats[path]) == {"received": 300, "delivered": 300}
    assert below.progress([event.id for event in events]) == {}
