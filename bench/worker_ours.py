"""The worker of eventtracking: trackers made from configs, with plugins found by their names."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import attrs
from _events import CONTEXT, LARGE, NAME, PATTERNS, SMALL, UNMATCHED, matching_patterns
from _worker import serve

from eventtracking import Event, Tracker
from eventtracking_testkit.distribution import fake_distribution


@attrs.define(eq=False)
class NullBackend:
    """Forget everything."""

    def send(self, events: Sequence[Event]) -> None:
        """Forget the events."""


@attrs.define(eq=False)
class AddType:
    """Add a top-level key, as the shims of Open edX do."""

    def __call__(self, event: Event) -> Event:
        return event.replace(extra={**event.extra, "event_type": event.name})


@attrs.define(eq=False)
class AddToContext:
    """Add to the context."""

    def __call__(self, event: Event) -> Event:
        return event.replace(context={**event.context, "module": "bench"})


def emitting(config: dict[str, Any], data: dict[str, Any] | None = None) -> Callable[[], object]:
    """Build a tracker, enter a context, and return what emits one event."""
    logger = logging.getLogger("bench")
    logger.addHandler(logging.NullHandler())
    logger.setLevel(logging.INFO)
    logger.propagate = False
    tracker = Tracker.from_config(config)
    tracker.enter_context("request", CONTEXT)
    emit, data = tracker.emit, SMALL if data is None else data
    return lambda: emit(NAME, data)


def null() -> dict[str, Any]:
    return {"plugin": "bench_null"}


def filtering(patterns: list[str]) -> dict[str, Any]:
    return {"plugin": "regex_filter", "filter_type": "allowlist", "regular_expressions": patterns}


def three_routers(patterns: list[str]) -> dict[str, Any]:
    routers = [{"processors": [filtering(patterns)], "backends": {"end": null()}} for _ in range(3)]
    return {"backends": {f"router_{number}": router for number, router in enumerate(routers)}}


def open_edx() -> dict[str, Any]:
    changing = [{"plugin": "bench_add_type"}, {"plugin": "bench_add_to_context"}]
    nobody = [{"plugin": "name_filter", "names": []}, {"plugin": "bench_add_to_context"}]
    logger = {"plugin": "logger", "name": "bench", "max_event_bytes": 50_000}
    return {
        "backends": {
            "tracking_logs": {"processors": changing, "backends": {"logger": logger}},
            "segmentio": {"processors": nobody, "backends": {"segment": null()}},
        }
    }


def routes(count: str) -> Callable[[], object]:
    return emitting({"backends": {f"route_{number}": null() for number in range(int(count))}})


def patterns(count: str) -> Callable[[], object]:
    node = {**null(), "processors": [filtering(matching_patterns(int(count)))]}
    return emitting({"backends": {"end": node}})


def install_unused(count: int) -> None:
    """Install that many plugins that no config names, each in a distribution of its own."""
    for number in range(count):
        module = {
            f"bench_unused_{number}": (
                "raise AssertionError('a plugin that no config names was imported')"
            )
        }
        fake_distribution(
            f"bench-unused-{number}",
            modules=module,
            entry_points={f"unused_{number}": f"bench_unused_{number}"},
        ).__enter__()


def plugins(count: str) -> Callable[[], object]:
    """Emit, beside that many plugins that no config names."""
    install_unused(int(count))
    return emitting({"backends": {"end": null()}})


def start(count: str) -> Callable[[], object]:
    """Make a tracker from a config and close it, beside that many plugins that no config names."""
    install_unused(int(count))
    return lambda: Tracker.from_config({"backends": {"end": null()}}).close()


PLUGINS = {
    "bench_null": NullBackend,
    "bench_add_type": AddType,
    "bench_add_to_context": AddToContext,
}

if __name__ == "__main__":
    SCENARIOS: dict[str, Callable[..., Callable[[], object]]] = {
        "null": lambda: emitting({"backends": {"end": null()}}),
        "json": lambda: emitting({"backends": {"end": {"plugin": "logger", "name": "bench"}}}),
        "open_edx": lambda: emitting(open_edx()),
        "three_routers": lambda: emitting(three_routers(PATTERNS)),
        "filtered": lambda: emitting(three_routers(UNMATCHED)),
        "large": lambda: emitting({"backends": {"end": null()}}, LARGE),
        "routes": routes,
        "patterns": patterns,
        "plugins": plugins,
        "start": start,
    }
    with fake_distribution("bench-plugins", plugins=PLUGINS):
        serve(SCENARIOS)
