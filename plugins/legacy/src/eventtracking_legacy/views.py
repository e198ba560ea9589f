"""The tree of a tracker, as users of event-tracking look at it: routers with `backends` and
`processors`.

A site's own objects are shown as they are. Our plugins are shown as objects of the
predecessor's classes; an event that is sent to one goes down the tracker's own route, and is
counted there. A change is made to the tracker's config, and the tracker goes on with the new one.
"""

from __future__ import annotations

from collections.abc import (
    Callable,
    Iterable,
    Iterator,
    Mapping,
    MutableMapping,
    MutableSequence,
)
from typing import TYPE_CHECKING, Any, Final, overload

from eventtracking import Event
from eventtracking._pipeline.route import Group, Route
from eventtracking._tree.leaf import Leaf
from eventtracking_legacy.changes import EmptyRouter
from eventtracking_legacy.filters import NameWhitelistProcessor, RegexFilter
from eventtracking_legacy.objects import (
    AsyncRoutingBackend,
    EventBusRoutingBackend,
    LoggerBackend,
    MongoBackend,
    RoutingBackend,
    SegmentBackend,
)
from eventtracking_legacy.processor import LegacyProcessor
from eventtracking_legacy.shape import from_legacy

if TYPE_CHECKING:
    from eventtracking_legacy.tracker import DjangoTracker

__all__ = ["RouterView", "view_of"]

Deliver = Callable[[Event], object]

_BACKENDS: Final = {"logger": LoggerBackend, "mongo": MongoBackend, "segment": SegmentBackend}
_FILTERS: Final[dict[str, type[NameWhitelistProcessor | RegexFilter]]] = {
    "name_filter": NameWhitelistProcessor,
    "regex_filter": RegexFilter,
}
_BUS: Final = ("event_bus", "event_bus_router")


class _Backends(MutableMapping[str, Any]):
    """The backends below a router, by name, as they are at the moment."""

    def __init__(self, view: RouterView) -> None:
        self._view = view

    def _routes(self) -> dict[str, Route]:
        below = self._view.below
        return {route.path.rpartition("/")[2]: route for route in below.children}

    def __getitem__(self, name: str) -> Any:
        return self._view.tracker.shown(self._routes()[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._routes())

    def __len__(self) -> int:
        return len(self._routes())

    def __setitem__(self, name: str, backend: Any) -> None:
        self._view.register_backend(name, backend)

    def __delitem__(self, name: str) -> None:
        self._routes()[name]  # a KeyError for an unknown one
        self._view.tracker.put_backends(self._view.below.path, {name: None})

    def clear(self) -> None:
        """Remove all backends at once."""
        self._view.backends = {}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({dict(self)!r})"


class _Processors(MutableSequence[Any]):
    """The processors of a router, as they are at the moment."""

    def __init__(self, view: RouterView) -> None:
        self._view = view

    def _now(self) -> list[Any]:
        return list(_processors(self._view.chained))

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> list[Any]: ...
    def __getitem__(self, index: Any) -> Any:
        return self._now()[index]

    def __len__(self) -> int:
        return len(self._now())

    def __setitem__(self, index: Any, value: Any) -> None:
        found = self._now()
        found[index] = value
        self._view.processors = found

    def __delitem__(self, index: Any) -> None:
        found = self._now()
        del found[index]
        self._view.processors = found

    def insert(self, index: int, value: Any) -> None:
        """Add a processor before the one at an index."""
        found = self._now()
        found.insert(index, value)
        self._view.processors = found

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, list | tuple | _Processors):
            return NotImplemented
        return self._now() == list(other)

    __hash__ = None  # type: ignore[assignment]  # it can be changed, as a list can

    def __repr__(self) -> str:
        return repr(self._now())


class RouterView(RoutingBackend):
    """A router of the settings.

    Args:
        tracker: Whose router it is.
        path: The path of its route.
    """

    def __init__(self, tracker: DjangoTracker, path: str) -> None:
        self.tracker = tracker
        self.path = path
        self.backend_name = path.rpartition("/")[2]

    @property
    def below(self) -> Group:
        """The group that holds its backends."""
        tree = self.tracker._tree
        subtree, route = tree.downstreams.get(self.path), tree.routes[self.path]
        if subtree is None:
            return route if isinstance(route, Group) else Group(self.path, None)
        if isinstance(route, Leaf) and route.plugin in _BUS:
            inner = subtree.root.children[0]
            return inner if isinstance(inner, Group) else Group(inner.path, None)
        return subtree.root

    @property
    def chained(self) -> Route:
        """The route that holds its processors."""
        route = self.tracker._tree.routes[self.path]
        return self.below if getattr(route, "plugin", "") in _BUS else route

    @property
    def backends(self) -> MutableMapping[str, Any]:
        """The backends by name."""
        return _Backends(self)

    @backends.setter
    def backends(self, backends: Mapping[str, Any]) -> None:
        there = dict(self.backends)
        changes: dict[str, Any] = {name: None for name in there if name not in backends}
        for name, backend in backends.items():
            if there.get(name) != backend:
                changes[name] = _sending(backend)
        if changes:
            self.tracker.put_backends(self.below.path, changes)

    @property
    def processors(self) -> MutableSequence[Any]:
        """The processors, in order."""
        return _Processors(self)

    @processors.setter
    def processors(self, processors: Iterable[Any]) -> None:
        self.tracker.put_processors(self.chained.path, [_callable(one) for one in processors])

    def register_backend(self, name: str, backend: Any) -> None:
        """Add a backend, or put it in the place of the one of that name.

        Raises:
            ValueError: If it has no method `send`.
        """
        self.backends = {**self.backends, name: backend}

    def register_processor(self, processor: Callable[[Any], Any]) -> None:
        """Add a processor after the others.

        Raises:
            ValueError: If it cannot be called.
        """
        self.processors.append(processor)

    def send(self, event: Any) -> None:
        """Send an event down the tracker's route, which processes, delivers and counts it.

        Failures there are counted, not raised.
        """
        _deliver_to(self.tracker, self.path)(from_legacy(Event(name="unknown"), event))

    def __eq__(self, other: object) -> bool:
        """Tell whether the other shows the same router; each look makes a view."""
        if not isinstance(other, RouterView):
            return NotImplemented
        return self.tracker is other.tracker and self.path == other.path

    def __hash__(self) -> int:
        return hash((id(self.tracker), self.path))


class _AsyncRouterView(RouterView, AsyncRoutingBackend):
    """An asynchronous router of the settings."""


class _EventBusRouterView(RouterView, EventBusRoutingBackend):
    """A router of the settings that sends to the event bus."""


def _sending(backend: Any) -> Any:
    if not callable(getattr(backend, "send", None)):
        raise ValueError(f"{type(backend).__name__} has no method `send`, so it is no backend")
    return backend


def _callable(processor: Any) -> Any:
    if not callable(processor):
        raise ValueError(f"{type(processor).__name__} cannot be called, so it is no processor")
    return processor


def view_of(tracker: DjangoTracker, route: Route) -> Any:
    """Return a route as users of event-tracking know it."""
    if not isinstance(route, Leaf):
        return RouterView(tracker, route.path)
    if route.plugin in _BUS:
        return _EventBusRouterView(tracker, route.path)
    subtree = tracker._tree.downstreams.get(route.path)
    if subtree is None:
        known = _BACKENDS.get(route.plugin)
        if known is None:
            return _router_or_site(tracker, route)
        return known.at_route(route.backend, _deliver_to(tracker, route.path))
    if route.plugin == "async_celery":
        return _AsyncRouterView(tracker, route.path)
    # a buffer that we put before a backend of the settings
    only = subtree.root.children[0]
    if len(subtree.root.children) == 1 and isinstance(only, Leaf):
        if only.plugin in _BUS:
            return view_of(tracker, only)
        known = _BACKENDS.get(only.plugin)
        if known is not None:
            return known.at_route(only.backend, _deliver_to(tracker, route.path))
    return RouterView(tracker, route.path)


def _router_or_site(tracker: DjangoTracker, route: Leaf) -> Any:
    """Return a site's backend; in the place of a router without backends, the router."""
    found = _site_object(route.backend)
    if not isinstance(found, EmptyRouter):
        return found
    kind = _AsyncRouterView if found.node.get("plugin") == "async_celery" else RouterView
    return kind(tracker, route.path)


def _deliver_to(tracker: DjangoTracker, path: str) -> Deliver:
    def deliver(event: Event) -> None:
        tracker._reentrancy.run(tracker._tree.routes[path].emit, event)

    return deliver


def _processors(route: Route) -> Iterator[Any]:
    for link in () if route.chain is None else route.chain.links:
        known: Any = _FILTERS.get(link.plugin)
        shown = _site_object(link.processor) if known is None else known.of_plugin(link.processor)
        if not isinstance(shown, LegacyProcessor):  # those without a site's object are ours alone
            yield shown


def _site_object(wrapper: Any) -> Any:
    site = getattr(wrapper, "site", None)
    return wrapper if site is None else site
