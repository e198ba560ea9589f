"""Advice: a config is sound, and parts of it are likely a mistake."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from eventtracking.config.specs import RouteSpec, Spec
from eventtracking.errors import Problem

__all__ = ["advice"]

_HINT: Final = "put it below a buffer"


def advice(spec: Spec) -> list[Problem]:
    """Return the parts that are allowed and likely a mistake, for `eventtracking check`."""
    if not spec.routes:
        return [Problem("backends", "no backend is named, so that every event is filtered")]
    return [problem for route in spec.routes for problem in _inline(route)]


def _inline(route: RouteSpec, above: str = "no router stands above it") -> Iterator[Problem]:
    """Warn of backends that need a router above them which holds events, and have none."""
    if route.plugin is not None:
        name, backend = route.plugin.name, route.instance
        if getattr(backend, "defers", False):
            return
        if getattr(backend, "blocking", False):
            text = f"{name} talks to a network, and {above}, so that each emit() waits for it"
            yield Problem(route.path, text, hint=_HINT)
        if callable(getattr(backend, "tick", None)):
            text = f"{name} acts by time, and nothing calls its tick() here"
            yield Problem(route.path, text, hint=_HINT)
        above = "no router above it holds events"
    for child in route.children:
        yield from _inline(child, above)
