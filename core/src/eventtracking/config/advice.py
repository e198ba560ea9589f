"""Advice: a config is sound, and parts of it are likely a mistake."""

from __future__ import annotations

from collections.abc import Iterator

from eventtracking.config.specs import RouteSpec, Spec
from eventtracking.errors import Problem

__all__ = ["advice"]


def advice(spec: Spec) -> list[Problem]:
    """Return the parts that are allowed and likely a mistake, for `eventtracking check`."""
    if not spec.routes:
        return [
            Problem(path="backends", message="no backend is named, so that every event is filtered")
        ]
    return [problem for route in spec.routes for problem in _inline(route)]


def _inline(route: RouteSpec, above: str = "no router stands above it") -> Iterator[Problem]:
    """Warn of backends that need a router above them which holds events, and have none."""
    if route.plugin is not None and getattr(route.instance, "defers", False):
        return
    if route.plugin is not None and getattr(route.instance, "blocking", False):
        yield Problem(
            path=route.path,
            message=(
                f"{route.plugin.name} talks to a network, and {above}, so that each emit() waits"
                " for it"
            ),
            hint="put it below a buffer",
        )
    if route.plugin is not None and callable(getattr(route.instance, "tick", None)):
        yield Problem(
            path=route.path,
            message=f"{route.plugin.name} acts by time, and nothing calls its tick() here",
            hint="put it below a buffer",
        )
    if route.plugin is not None:
        above = "no router above it holds events"
    for child in route.children:
        yield from _inline(child, above)
