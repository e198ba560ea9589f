"""The specs: a config as it was read, with each plugin's instance, not yet compiled."""

from __future__ import annotations

from typing import Any

import attrs

from eventtracking.config.discovery import Plugin

__all__ = ["ObserverSpec", "ProcessorSpec", "RouteSpec", "Spec"]


@attrs.frozen(kw_only=True, eq=False)
class ProcessorSpec:
    """A processor as the config wants it."""

    path: str
    """Its place in the config: `backends.product.processors[0]`."""
    plugin: Plugin
    options: dict[str, Any]
    """What the config gives, with `${VAR}` as it was written."""
    on_error: str
    instance: Any


@attrs.frozen(kw_only=True, eq=False)
class ObserverSpec:
    """An observer as the config wants it."""

    path: str
    """Its place in the config: `observers[0]`."""
    plugin: Plugin
    options: dict[str, Any]
    """What the config gives, with `${VAR}` as it was written."""
    instance: Any


@attrs.frozen(kw_only=True, eq=False)
class RouteSpec:
    """A route as the config wants it: a backend, a router, or a plain group."""

    path: str
    """Its place in the config: `backends.warehouse.backends.archive`."""
    route: str
    """Its place in the tree: `warehouse/archive`."""
    plugin: Plugin | None
    """None for a plain group."""
    options: dict[str, Any]
    """What the config gives, with `${VAR}` as it was written."""
    processors: tuple[ProcessorSpec, ...]
    children: tuple[RouteSpec, ...]
    instance: Any
    """The backend, ready to use and not yet opened. None for a plain group."""


@attrs.frozen(kw_only=True, eq=False)
class Spec:
    """A whole config that holds no problem."""

    processors: tuple[ProcessorSpec, ...]
    routes: tuple[RouteSpec, ...]
    context: dict[str, Any]
    strict: bool
    observers: tuple[ObserverSpec, ...] = ()
