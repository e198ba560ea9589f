"""Which way an event would take, and who decides."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from eventtracking._pipeline.chain import Verdict
from eventtracking._pipeline.route import Group, Route
from eventtracking._tree.tree import Tree
from eventtracking.counts import Outcome
from eventtracking.event import Event

__all__ = ["Decision", "explain"]


@attrs.frozen(kw_only=True)
class Decision:
    """What would happen to an event at one route."""

    path: str
    """The route; the root is `""`."""
    outcome: Outcome
    """DELIVERED if the route would take it, FILTERED or FAILED if a processor ends its way."""
    processor: str | None = None
    """The place in the config of the processor that decided against it, here or above."""
    reason: str = ""


def explain(tree: Tree, event: Event) -> list[Decision]:
    """Run the processors, and nothing else, along every route.

    They get to see the event as in earnest.
    """
    return list(_walk(tree, tree.root, event))


def _walk(tree: Tree, route: Route, event: Event) -> Iterator[Decision]:
    result = event if route.chain is None else route.chain.apply(event)
    if isinstance(result, Verdict):
        yield from _against(tree, route, result)
        return
    yield Decision(path=route.path, outcome=Outcome.DELIVERED)
    for child in _children(tree, route):
        yield from _walk(tree, child, result)


def _against(tree: Tree, route: Route, verdict: Verdict) -> Iterator[Decision]:
    yield Decision(
        path=route.path, outcome=verdict.outcome, processor=verdict.processor, reason=verdict.reason
    )
    for child in _children(tree, route):
        yield from _against(tree, child, verdict)


def _children(tree: Tree, route: Route) -> tuple[Route, ...]:
    if isinstance(route, Group):
        return route.children
    below = tree.downstreams.get(route.path)
    return () if below is None else below.root.children
