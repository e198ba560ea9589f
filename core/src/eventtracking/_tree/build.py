"""From specs to the compiled tree."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from eventtracking._pipeline.chain import Chain, Link
from eventtracking._pipeline.route import Group, Leaf
from eventtracking._tree.downstream import Subtree
from eventtracking._tree.observers import Observers, views_of
from eventtracking._tree.tree import Entered, Tree
from eventtracking.config import ProcessorSpec, RouteSpec, Spec

__all__ = ["build_tree"]


def build_tree(spec: Spec, entered: Entered, on_open: Callable[[], None]) -> Tree:
    """Compile a config.

    Args:
        entered: Marks the current thread as inside the tree for the length of a block.
        on_open: Called whenever a backend was opened.
    """
    observers = Observers(spec.observers)
    builder = _Builder(entered, on_open, observers.report)
    root = Group("", _chain(spec.processors))
    builder.routes[""] = root
    children = builder.build_all(spec.routes, ())
    root.adopt(children)
    views = views_of(spec)
    return Tree(root, builder.routes, builder.subtrees, entered, observers, views)


def _chain(specs: Sequence[ProcessorSpec]) -> Chain | None:
    links = [
        Link(spec.path, spec.plugin.name, spec.instance, spec.on_error == "pass") for spec in specs
    ]
    return Chain(links) if links else None


class _Builder:
    def __init__(
        self,
        entered: Entered,
        on_open: Callable[[], None],
        report: Callable[[str, int, float], None] | None,
    ) -> None:
        self._entered = entered
        self._on_open = on_open
        self._report = report
        self.routes: dict[str, Leaf | Group] = {}
        self.subtrees: dict[str, Subtree] = {}

    def build_all(self, specs: Sequence[RouteSpec], above: tuple[str, ...]) -> list[Leaf | Group]:
        return [self._build(spec, above) for spec in specs]

    def _build(self, spec: RouteSpec, above: tuple[str, ...]) -> Leaf | Group:
        chain = _chain(spec.processors)
        if spec.plugin is None:
            return self._group(spec, chain, above)
        leaf = self.routes[spec.route] = Leaf(
            spec.route, chain, spec.plugin.name, spec.instance, self._on_open, self._report
        )
        if spec.plugin.kind == "router":
            below = Group(
                spec.route, None, self.build_all(spec.children, (spec.plugin.name, *above))
            )
            subtree = self.subtrees[spec.route] = Subtree(below, above, self._entered)
            spec.instance.bind(subtree)
            leaf._set_books()  # anew: `bind` may have decided whether it counts itself
        return leaf

    def _group(self, spec: RouteSpec, chain: Chain | None, above: tuple[str, ...]) -> Group:
        group = Group(spec.route, chain)
        self.routes[spec.route] = group  # before its children, which reports rely on
        group.adopt(self.build_all(spec.children, above))
        return group
