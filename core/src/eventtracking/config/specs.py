"""The specs: a config as it was read, with each plugin's instance, not yet compiled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import attrs
import msgspec

from eventtracking._data.snapshot import Values
from eventtracking.config.discovery import Plugin
from eventtracking.errors import DeliveryError, Problem

__all__ = ["ObserverSpec", "ProcessorSpec", "RouteSpec", "Spec", "stand_in"]

_RETRY_AFTER_S: Final = 60.0


class _Named(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """A part of the config that shows its place alone: its options may hold secrets.

    A Struct, like the other records that an import makes: attrs compiles each class at 30 times
    the cost.
    """

    path: str

    def __repr__(self) -> str:
        return f"{type(self).__name__}(path={self.path!r})"


class ProcessorSpec(_Named, frozen=True, kw_only=True, eq=False):
    """A processor as the config wants it."""

    path: str
    """Its place in the config: `backends.product.processors[0]`."""
    plugin: Plugin
    options: dict[str, Any]
    """The options in the config, with `${VAR}` as it was written."""
    on_error: str
    instance: Any


class ObserverSpec(_Named, frozen=True, kw_only=True, eq=False):
    """An observer as the config wants it."""

    path: str
    """Its place in the config: `observers[0]`."""
    plugin: Plugin
    options: dict[str, Any]
    """The options in the config, with `${VAR}` as it was written."""
    instance: Any


class RouteSpec(_Named, frozen=True, kw_only=True, eq=False):
    """A route as the config wants it: a backend, a router, or a plain group."""

    path: str
    """Its place in the config: `backends.warehouse.backends.archive`."""
    route: str
    """Its place in the tree: `warehouse/archive`."""
    plugin: Plugin | None
    """None for a plain group."""
    options: dict[str, Any]
    """The options in the config, with `${VAR}` as it was written."""
    processors: tuple[ProcessorSpec, ...]
    children: tuple[RouteSpec, ...]
    instance: Any
    """The backend, ready to use and not yet opened. None for a plain group."""


class Spec(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """A whole config, whose routes are sound or have stand-ins."""

    processors: tuple[ProcessorSpec, ...]
    routes: tuple[RouteSpec, ...]
    context: dict[str, Any]
    strict: bool
    observers: tuple[ObserverSpec, ...] = ()
    values: Values = msgspec.field(default_factory=dict)
    """The plain forms of values, by the qualified name of a type."""
    problems: tuple[Problem, ...] = ()
    """The problems of the routes that stand-ins have replaced."""

    def __repr__(self) -> str:
        """Show the routes alone: the context may hold a secret, too."""
        return f"Spec(routes={self.routes!r})"


@attrs.define(eq=False)
class _StandIn:
    """Holds the place of a route whose config is broken, and refuses its events for now."""

    path: str

    def send(self, events: Sequence[Any]) -> None:  # noqa: ARG002 - the contract's signature
        """Raise; below a buffer the events wait until the config is mended."""
        raise DeliveryError(f"config: {self.path}", retry_after_s=_RETRY_AFTER_S)


def stand_in(path: str, route: str) -> RouteSpec:
    """Return the spec of a route that holds the place of a broken one."""
    plugin = Plugin(
        name="broken config",
        kind="backend",
        plugin_class=_StandIn,
        distribution="eventtracking",
        version="",
    )
    return RouteSpec(
        path=path,
        route=route,
        plugin=plugin,
        options={},
        processors=(),
        children=(),
        instance=_StandIn(path),
    )
