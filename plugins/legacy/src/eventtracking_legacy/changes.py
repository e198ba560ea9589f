"""Changes to the config of a running tracker, as code written for event-tracking makes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs

from eventtracking._pipeline.route import Route
from eventtracking._tree.leaf import Leaf
from eventtracking._tree.tree import Tree
from eventtracking_legacy.engine import Given
from eventtracking_legacy.exceptions import NoBackendEnabled

__all__ = ["EmptyRouter", "with_backends", "with_objects", "with_processors"]


@attrs.frozen(eq=False)
class EmptyRouter:
    """Take the place of a router whose last backend was removed, until it is given another.

    A config has no router without backends; event-tracking had.
    """

    node: Mapping[str, Any]
    """The router in the config, without its processors."""

    def send(self, _event: Any) -> None:
        """Deliver to no backend.

        Raises:
            NoBackendEnabled: Always, so that the counts have the reason.
        """
        raise NoBackendEnabled("the router has no backend")


def with_objects(config: Mapping[str, Any], tree: Tree) -> dict[str, Any]:
    """Return a copy of the config that holds the objects of a tree, so that they are not made
    again.
    """
    return {
        **config,
        "processors": _chain(config.get("processors", ()), tree.root),
        "backends": _nodes(config.get("backends", {}), "", tree),
    }


def with_backends(
    config: dict[str, Any], router: str, changes: Mapping[str, Any]
) -> dict[str, Any]:
    """Put a site's objects below a router by name, or remove backends (None). Changes the copy.

    Raises:
        LookupError: If there is no such router, or no such backend to remove.
    """
    node = _node(config, router)
    options = node.get("options")
    if isinstance(options, Given) and isinstance(options.value, EmptyRouter):
        _replace(node, options.value.node)
    below = node.setdefault("backends", {})
    for name, backend in changes.items():
        if backend is None:
            del below[name]
        else:
            below[name] = _given("legacy", backend)
    if router and not below:
        _replace(node, _given("legacy", EmptyRouter(_without_processors(node))))
    return config


def _replace(node: dict[str, Any], other: Mapping[str, Any]) -> None:
    """Make a node another one; its processors stay."""
    chain = {key: value for key, value in node.items() if key == "processors"}
    node.clear()
    node.update({**other, **chain})


def _without_processors(node: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in node.items() if key != "processors"}


def with_processors(
    config: dict[str, Any], route: str, processors: Sequence[Any]
) -> dict[str, Any]:
    """Give a route other processors. Changes the copy.

    Raises:
        LookupError: If there is no such route.
    """
    _node(config, route)["processors"] = [_given("legacy_processor", one) for one in processors]
    return config


def _node(config: dict[str, Any], path: str) -> dict[str, Any]:
    node = config
    for name in path.split("/") if path else ():
        node = node["backends"][name]
    return node


def _given(plugin: str, site: Any) -> dict[str, Any]:
    kind = type(site)
    return {
        "plugin": plugin,
        "engine": f"{kind.__module__}.{kind.__qualname__}",
        "options": Given(site),
    }


def _nodes(nodes: Mapping[str, Any], path: str, tree: Tree) -> dict[str, Any]:
    return {
        name: _copy(node, f"{path}/{name}" if path else name, tree) for name, node in nodes.items()
    }


def _copy(node: Mapping[str, Any], path: str, tree: Tree) -> dict[str, Any]:
    route = tree.routes[path]
    copy = dict(node)
    if "processors" in node:
        copy["processors"] = _chain(node["processors"], route)
    if "backends" in node:
        copy["backends"] = _nodes(node["backends"], path, tree)
    if node.get("plugin") == "legacy" and isinstance(route, Leaf):
        copy["options"] = Given(route.backend.site)
    return copy


def _chain(steps: Sequence[Mapping[str, Any]], route: Route) -> list[dict[str, Any]]:
    links = () if route.chain is None else route.chain.links
    return [dict(_step(step, link.processor)) for step, link in zip(steps, links, strict=True)]


def _step(step: Mapping[str, Any], processor: Any) -> Iterator[tuple[str, Any]]:
    yield from step.items()
    if step.get("plugin") == "legacy_processor" and "engine" in step:
        yield "options", Given(processor.site)
