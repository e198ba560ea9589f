"""What a router may decide, and what a worker may ask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import attrs

from eventtracking import Counts, Event, Tracker
from eventtracking._pipeline.reentrancy import Reentrancy
from eventtracking._tree.build import build_tree
from eventtracking.config import RouteSpec, Spec
from eventtracking.config.discovery import Plugin
from eventtracking.tracker import register_tracker, registered_trackers


@attrs.define(eq=False)
class Chooser:
    """A router that counts itself only if told so, which it learns in `bind`."""

    counts_itself: bool = False
    defers: ClassVar[bool] = True
    counts: Any = attrs.field(init=False, repr=False)

    def bind(self, downstream: Any) -> None:
        if self.counts_itself:
            self.counts = self._own_counts

    def _own_counts(self) -> Mapping[str, Counts]:
        return {"r": Counts(received=1, pending=1)}

    def send(self, events: Sequence[Event]) -> None:
        pass


def counts_after_one_event(router: Chooser) -> Counts:
    plugin = Plugin(
        name="chooser", kind="router", plugin_class=Chooser, distribution="d", version="1"
    )
    route = RouteSpec(
        path="backends.r",
        route="r",
        plugin=plugin,
        options={},
        processors=(),
        children=(),
        instance=router,
    )
    spec = Spec(processors=(), routes=(route,), context={}, strict=False)
    tree = build_tree(spec, Reentrancy().run, lambda: None)
    tree.root.emit(Event(name="x"))
    return tree.routes["r"].counts()["r"]


def test_a_router_may_decide_in_bind_whether_it_counts_itself() -> None:
    """Without `counts` after `bind`, it has delivered when `send` returns; with it, its own counts
    are all there are.
    """
    assert counts_after_one_event(Chooser()) == Counts(received=1, delivered=1)
    assert counts_after_one_event(Chooser(counts_itself=True)) == Counts(received=1, pending=1)


def test_the_registered_trackers_can_be_listed() -> None:
    """Somebody who knows a tracker can find the name under which it is registered."""
    made = Tracker()
    register_tracker(made, "the second one")
    assert registered_trackers()["the second one"] is made
    assert "default" in registered_trackers()
