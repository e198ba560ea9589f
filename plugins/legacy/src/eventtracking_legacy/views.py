"""The tree of a tracker, as users of event-tracking look at it: routers with `backends` and
`processors`.

A site's own objects are shown as they are. What our plugins do is shown as objects of the
predecessor's classes; what is sent to one of those goes down the tracker's own route, and is
counted there. Nothing can be added or removed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, Final, NoReturn

from eventtracking import Event
from eventtracking._pipeline.route import Group, Leaf, Route
from eventtracking._tree.tree import Tree
from eventtracking_legacy.objects import (
    AsyncRoutingBackend,
    LoggerBackend,
    MongoBackend,
    NameWhitelistProcessor,
    RegexFilter,
    RoutingBackend,
    SegmentBackend,
)
from eventtracking_legacy.processor import LegacyProcessor
from eventtracking_legacy.shape import from_legacy

__all__ = ["AsyncRouterView", "RouterView", "view_of"]

Entered = Callable[[], AbstractContextManager[None]]
Deliver = Callable[[Event], object]

_BACKENDS: Final = {"logger": LoggerBackend, "mongo": MongoBackend, "segment": SegmentBackend}
_FILTERS: Final[dict[str, type[NameWhitelistProcessor | RegexFilter]]] = {
    "name_filter": NameWhitelistProcessor,
    "regex_filter": RegexFilter,
}


def _refuse() -> NoReturn:
    raise TypeError(
        "the routes of a tracker come from the settings, and stay as they are: change the settings,"
        " then make the tracker anew (`override_default_tracker()`, or"
        " `register_tracker(DjangoTracker())`)"
    )


class _Routes(Mapping[str, Any]):
    """Backends by name.

    To set one, which event-tracking allowed, is an error that says what to do.
    """

    def __init__(self, found: Mapping[str, Any]) -> None:
        self._found = found

    def __getitem__(self, name: str) -> Any:
        return self._found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)

    def __setitem__(self, name: str, backend: Any) -> NoReturn:
        _refuse()

    def __delitem__(self, name: str) -> NoReturn:
        _refuse()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._found!r})"


class RouterView(RoutingBackend):
    """A router of the settings.

    Args:
        backends: What is below it, by name.
        processors: Its processors.
        deliver: Sends an event down its route.
    """

    backends: Mapping[str, Any]  # type: ignore[assignment]  # nothing is added here
    processors: tuple[Any, ...]  # type: ignore[assignment]  # as above

    def __init__(
        self, backends: Mapping[str, Any], processors: tuple[Any, ...], deliver: Deliver
    ) -> None:
        self.backends = _Routes(backends)
        self.processors = processors
        self._deliver = deliver

    def register_backend(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse it.

        Raises:
            TypeError: Always; it says what to do.
        """
        _refuse()

    def register_processor(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse it.

        Raises:
            TypeError: Always; it says what to do.
        """
        _refuse()

    def send(self, event: Any) -> None:
        """Send an event down the tracker's route, which processes, delivers and counts it.

        What fails there is not raised.
        """
        self._deliver(from_legacy(Event(name="unknown"), event))


class AsyncRouterView(RouterView, AsyncRoutingBackend):
    """An asynchronous router of the settings."""

    def __init__(
        self, name: str, backends: Mapping[str, Any], processors: tuple[Any, ...], deliver: Deliver
    ) -> None:
        super().__init__(backends, processors, deliver)
        self.backend_name = name


def view_of(tree: Tree, entered: Entered) -> RouterView:
    """Return the whole tree.

    Args:
        entered: Marks the current thread as inside the tree for the length of a block.
    """
    return _Viewer(tree, entered).router(tree.root)


class _Viewer:
    def __init__(self, tree: Tree, entered: Entered) -> None:
        self._tree = tree
        self._entered = entered

    def router(self, route: Group) -> RouterView:
        return RouterView(self._children(route), _processors(route), self._deliver_to(route))

    def _children(self, group: Group) -> dict[str, Any]:
        return {route.path.rpartition("/")[2]: self._any(route) for route in group.children}

    def _any(self, route: Route) -> Any:
        if isinstance(route, Group):
            return self.router(route)
        assert isinstance(route, Leaf)  # noqa: S101 - there is no third kind
        return self._leaf(route)

    def _leaf(self, route: Leaf) -> Any:
        deliver = self._deliver_to(route)
        if route.path in self._tree.downstreams:
            below = self._tree.downstreams[route.path].root
            if route.plugin == "async_celery":
                name = route.path.rpartition("/")[2]
                return AsyncRouterView(name, self._children(below), _processors(route), deliver)
            return self._stored(below, deliver) or RouterView(
                self._children(below), _processors(route), deliver
            )
        known = _BACKENDS.get(route.plugin)
        return (
            _site_object(route.backend) if known is None else known.at_route(route.backend, deliver)
        )

    def _stored(self, below: Group, deliver: Deliver) -> Any:
        """Show the backend that the settings have where we put a buffer before it."""
        only = below.children[0]
        known = (
            _BACKENDS.get(only.plugin)
            if isinstance(only, Leaf) and len(below.children) == 1
            else None
        )
        if known is None or not isinstance(only, Leaf):
            return None
        return known.at_route(only.backend, deliver)

    def _deliver_to(self, route: Route) -> Deliver:
        def deliver(event: Event) -> None:
            with self._entered():
                route.emit(event)

        return deliver


def _processors(route: Route) -> tuple[Any, ...]:
    links = () if route.chain is None else route.chain.links
    found = (_processor(link.plugin, link.processor) for link in links)
    return tuple(
        one for one in found if not isinstance(one, LegacyProcessor)
    )  # those without a site's object are ours alone


def _processor(plugin: str, processor: Any) -> Any:
    known: Any = _FILTERS.get(plugin)
    return _site_object(processor) if known is None else known.of_plugin(processor)


def _site_object(wrapper: Any) -> Any:
    site = getattr(wrapper, "site", None)
    return wrapper if site is None else site
