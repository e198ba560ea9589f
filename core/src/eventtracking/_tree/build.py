"""From specs to the compiled tree."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from eventtracking._pipeline.chain import Chain, Link
from eventtracking._pipeline.route import Group, Route
from eventtracking._tree.attempt import Passage
from eventtracking._tree.downstream import BoundDownstream, Inside
from eventtracking._tree.leaf import Leaf
from eventtracking._tree.observers import Observers, views_of
from eventtracking._tree.tree import Tree
from eventtracking.config import ProcessorSpec, RouteSpec, Spec
from eventtracking.errors import ConfigError, OptionsError, Problem, describe_error, locate
from eventtracking.event import Event

__all__ = ["build_tree"]

_MAX_REMARK_CHARS: Final = 500


def build_tree(
    spec: Spec,
    inside: Inside,
    on_open: Callable[[], None],
    submit: Callable[[Event], bool] = lambda _event: False,
) -> Tree:
    """Compile a config.

    Args:
        inside: Calls a function with the current thread marked as inside the tree.
        on_open: Called whenever a backend was opened.
        submit: Sends an event down the whole tree, for processors.

    Raises:
        ConfigError: If a router or a processor refuses its place.
    """
    observers = Observers(spec.observers)
    builder = _Builder(inside, on_open, submit, observers.report)
    root = builder.routes[""] = Group("", None)
    root.chain = builder.chain(spec.processors, root, ())
    children = builder.build_all(spec.routes, ())
    root.adopt(children)
    if builder.problems:
        raise ConfigError(builder.problems)
    views = views_of(spec)
    return Tree(root, builder.routes, builder.downstreams, inside, observers, views)


class BoundPlace(msgspec.Struct, frozen=True, eq=False):
    """See `eventtracking.protocols.Place`."""

    route: Route
    above: tuple[str, ...]
    submit: Callable[[Event], bool]

    @property
    def path(self) -> str:
        """The path of the route."""
        return self.route.path

    def remark(self, text: str, count: int = 1) -> None:
        """Count a text among the reasons of the route."""
        self.route.ledger.remark(str(text)[:_MAX_REMARK_CHARS], count)


class _Builder:
    def __init__(
        self,
        inside: Inside,
        on_open: Callable[[], None],
        submit: Callable[[Event], bool],
        report: Callable[[str, int, float], None] | None,
    ) -> None:
        self._inside = inside
        self._on_open = on_open
        self._submit = submit
        self._report = report
        self.routes: dict[str, Leaf | Group] = {}
        self.downstreams: dict[str, BoundDownstream] = {}
        self.problems: list[Problem] = []

    def build_all(self, specs: Sequence[RouteSpec], above: tuple[str, ...]) -> list[Leaf | Group]:
        return [self._build(spec, above) for spec in specs]

    def chain(
        self, specs: Sequence[ProcessorSpec], route: Route, above: tuple[str, ...]
    ) -> Chain | None:
        """Compile processors, and tell each its place."""
        place = BoundPlace(route, above, self._submit)
        links = []
        for spec in specs:
            passes = spec.on_error == "pass"
            if passes and getattr(spec.instance, "fails_closed", False):
                text = f'{spec.plugin.name} must never be passed over; use on_error = "drop"'
                self.problems.append(Problem(f"{spec.path}.on_error", text))
            if hasattr(spec.instance, "bind"):
                self._call_bind(spec, place, spec.plugin.name)
            links.append(Link(spec.path, spec.plugin.name, spec.instance, passes, place.remark))
        return Chain(links) if links else None

    def _call_bind(self, spec: ProcessorSpec | RouteSpec, argument: object, plugin: str) -> None:
        try:
            spec.instance.bind(argument)
        except Exception as error:  # noqa: BLE001 - any exception of a plugin is a problem of the config
            self.problems += problems_of(error, spec.path, f"{plugin}.bind()")

    def _build(self, spec: RouteSpec, above: tuple[str, ...]) -> Leaf | Group:
        if spec.plugin is None:
            group = self.routes[spec.route] = Group(spec.route, None)
            group.chain = self.chain(spec.processors, group, above)
            group.adopt(self.build_all(spec.children, above))
            return group
        make = Passage if _passes_through(spec) else Leaf
        backend, plugin = spec.instance, spec.plugin.name
        leaf = make(spec.route, None, plugin, backend, self._on_open, self._report)
        leaf.chain = self.chain(spec.processors, leaf, above)
        self.routes[spec.route] = leaf  # before its children, which reports rely on
        if spec.plugin.kind == "router":
            self._bind(spec, leaf, above)
        return leaf

    def _bind(self, spec: RouteSpec, leaf: Leaf, above: tuple[str, ...]) -> None:
        """Give a router the routes below it; a refusal is a problem of the config."""
        assert spec.plugin is not None  # noqa: S101 - a router has one
        below = Group(spec.route, None, self.build_all(spec.children, (spec.plugin.name, *above)))
        if isinstance(leaf, Passage):
            leaf.take_below(below)
        downstream = self.downstreams[spec.route] = BoundDownstream(
            leaf, below, above, self._inside
        )
        self._call_bind(spec, downstream, spec.plugin.name)
        if leaf.counts_itself:
            leaf.count_untaken()


def _passes_through(spec: RouteSpec) -> bool:
    """Whether it is a router that delivers within its `send`."""
    is_router = spec.plugin is not None and spec.plugin.kind == "router"
    holds = getattr(spec.instance, "defers", False) or hasattr(spec.instance, "counts")
    return is_router and not holds


def problems_of(error: Exception, path: str, call: str) -> list[Problem]:
    """Return the problems of a config that a plugin's exception tells."""
    if isinstance(error, OptionsError):
        return [Problem(f"{path}.{option}", text) for option, text in error.problems.items()]
    where = f" at {locate(error)}" if locate(error) else ""
    return [Problem(path, f"{call} raised {describe_error(error)}{where}")]
