"""The observers of a config, which watch a tracker and are never on the way of an inline emit."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from eventtracking.errors import describe_error

if TYPE_CHECKING:
    from eventtracking.config import ObserverSpec, RouteSpec, Spec
    from eventtracking.protocols import Observer

__all__ = ["Observers", "RouteView", "views_of"]

_log = logging.getLogger("eventtracking")


class RouteView(msgspec.Struct, frozen=True, eq=False):
    """A route, to be looked at."""

    path: str
    plugin: str | None
    """The plugin's name; None for the root and for a plain group."""
    backend: Any
    """The backend or router itself; None for the root and for a plain group."""
    processors: tuple[Any, ...]
    """The processors themselves, in order."""
    children: tuple[RouteView, ...]

    def __repr__(self) -> str:
        """Show no backend or processor: an option may hold a secret in the wrong place."""
        shown = f"path={self.path!r}, plugin={self.plugin!r}, children={self.children!r}"
        return f"RouteView({shown})"


def views_of(spec: Spec) -> tuple[RouteView, ...]:
    """Return every route of a config: the root first, parents before their children."""
    children = tuple(_view(route) for route in spec.routes)
    root = RouteView("", None, None, tuple(found.instance for found in spec.processors), children)
    return tuple(_walk(root))


def _view(spec: RouteSpec) -> RouteView:
    return RouteView(
        spec.route,
        spec.plugin.name if spec.plugin is not None else None,
        spec.instance,
        tuple(found.instance for found in spec.processors),
        tuple(_view(child) for child in spec.children),
    )


def _walk(view: RouteView) -> Iterator[RouteView]:
    yield view
    for child in view.children:
        yield from _walk(child)


class Observers:
    """Starts, tells and closes observers. One that raises is switched off, and the log names it."""

    def __init__(self, specs: Sequence[ObserverSpec] = ()) -> None:
        self.instances: tuple[Observer, ...] = tuple(spec.instance for spec in specs)
        self._specs = tuple(specs)
        self.reset()

    def reset(self) -> None:
        """Start anew in a forked child, at the next first open."""
        self._starter: dict[str, object] = {}
        self._active: tuple[ObserverSpec, ...] = ()

    @property
    def report(self) -> Callable[[str, int, float], None] | None:
        """The function to call for each batch from a router; None if no observer listens."""
        listening = any(hasattr(observer, "delivered") for observer in self.instances)
        return self._delivered if listening else None

    def start(self, tracker: Any) -> None:
        """Start every observer, once per process. Never raises an Exception."""
        mine = object()
        if not self._specs or self._starter.setdefault("", mine) is not mine:  # atomic, no lock
            return
        for spec in self._specs:
            self._active = (*self._active, spec)
            self._attempt(spec, "start", tracker)

    def _delivered(self, route: str, count: int, duration_s: float) -> None:
        for spec in self._active:
            self._attempt(spec, "delivered", route, count, duration_s)

    def close(self) -> None:
        """Close those that started. Never raises an Exception."""
        active, self._active = self._active, ()
        for spec in active:
            self._attempt(spec, "close")

    def _attempt(self, spec: ObserverSpec, verb: str, *arguments: Any) -> None:
        """Call an observer, if it has such a method; switch it off if that raises."""
        try:
            getattr(spec.instance, verb, _nothing)(*arguments)
        except Exception as error:  # noqa: BLE001 - an observer must never hurt an event
            was_active = spec in self._active
            self._active = tuple(found for found in self._active if found is not spec)
            _log.warning(
                "%s: the observer %s is switched off (%s() raised %s)",
                spec.path,
                spec.plugin.name,
                verb,
                describe_error(error),
            )
            if was_active and verb != "close":
                self._attempt(spec, "close")


def _nothing(*_: Any) -> None:
    """Do nothing: the observer has no such method."""
