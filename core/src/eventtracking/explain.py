"""Which way an event would take, and who decides."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from eventtracking._pipeline.chain import Verdict
from eventtracking._pipeline.route import Route
from eventtracking._tree.attempt import DeliveryAttempt, Passage
from eventtracking._tree.tree import Tree
from eventtracking.counts import Outcome
from eventtracking.errors import describe_error
from eventtracking.event import Event

__all__ = ["Decision", "explain"]


@attrs.frozen
class Decision:
    """The outcome that an event would have at one route."""

    path: str
    """The route; the root is `""`."""
    outcome: Outcome
    """DELIVERED if the route would take it, FILTERED or FAILED if a processor ends its way."""
    processor: str | None = None
    """The place in the config of the processor that decided against it, here or above."""
    reason: str = ""


def explain(tree: Tree, event: Event) -> list[Decision]:
    """Run the processors along every route, and ask routers that pass through; send nothing."""
    return list(_walk(tree, tree.root, event))


def _walk(tree: Tree, route: Route, event: Event) -> Iterator[Decision]:
    result = event if route.chain is None else route.chain.apply(event)
    if isinstance(result, Verdict):
        found = Decision(route.path, result.outcome, result.processor, result.reason)
        yield from _against(tree, found, route)
    elif isinstance(route, Passage):
        yield from _through(tree, route, result)
    else:
        yield Decision(route.path, Outcome.DELIVERED)
        for child in _children(tree, route):
            yield from _walk(tree, child, result)


def _through(tree: Tree, passage: Passage, event: Event) -> Iterator[Decision]:
    """Ask a router by a dry delivery which children it would give the event to."""
    skipped: dict[str, str] = {}
    errors = DeliveryAttempt(skipped=skipped).pass_through(passage, (event,))
    if errors:
        error = errors.get(event.id) or next(iter(errors.values()))
        reason = f"{passage.plugin}: {describe_error(error)}"
        yield from _against(tree, Decision(passage.path, Outcome.FAILED, None, reason), passage)
        return
    yield Decision(passage.path, Outcome.DELIVERED)
    for child in passage.below.children:
        if child.path in skipped:
            reason = f"{passage.plugin}: {skipped[child.path]}"
            yield from _against(tree, Decision(child.path, Outcome.FILTERED, None, reason), child)
        else:
            yield from _walk(tree, child, event)


def _against(tree: Tree, decision: Decision, route: Route) -> Iterator[Decision]:
    """Repeat a decision for a route and all routes below it."""
    yield decision
    for child in _children(tree, route):
        yield from _against(tree, attrs.evolve(decision, path=child.path), child)


def _children(tree: Tree, route: Route) -> tuple[Route, ...]:
    below = tree.downstreams.get(route.path)
    return route.children if below is None else below.root.children
