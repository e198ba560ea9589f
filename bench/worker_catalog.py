"""The worker of the catalog: emits with and without it, and starts with many declarations."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _events import NAME, SMALL
from _worker import serve
from worker_ours import PLUGINS, emitting, null

from eventtracking import Event, Tracker
from eventtracking_catalog import register
from eventtracking_catalog.files import load_layer
from eventtracking_catalog.infer import infer
from eventtracking_catalog.registry import registry
from eventtracking_testkit.distribution import fake_distribution

KEPT: list[object] = []
FLAT = {"course": "botany", "mode": "audit", "attempt": 1, "seconds": 2.5}


def declare(name: str, data: dict[str, Any]) -> None:
    """Declare a type under which the data conforms."""
    file = Path(tempfile.mkdtemp()) / "declared.toml"
    file.write_text(infer([Event(name=name, data=data)] * 20), encoding="utf-8")
    KEPT.append(load_layer(file))
    shutil.rmtree(file.parent)


def with_catalog(data: dict[str, Any], is_declared: bool) -> Callable[[], object]:
    if is_declared:
        declare(NAME, data)
    emit = emitting({"processors": [{"plugin": "catalog"}], "backends": {"end": null()}}, data)
    emit()  # the record of the type goes with the first event
    return emit


def without(data: dict[str, Any]) -> Callable[[], object]:
    return emitting({"backends": {"end": null()}}, data)


def start(count: str) -> Callable[[], object]:
    """Declare that many types of four fields, and make a tracker that checks them."""
    config = {"processors": [{"plugin": "catalog"}], "backends": {"end": null()}}
    fields = {"course": "str", "mode": "str", "attempt": "int", "seconds": "float"}

    def once() -> None:
        registry._imported.clear()
        for number in range(int(count)):
            register(f"bench.type.{number}", "Measured.", fields)
        Tracker.from_config(config).close()

    return once


if __name__ == "__main__":
    SCENARIOS: dict[str, Callable[..., Callable[[], object]]] = {
        "flat": lambda: with_catalog(FLAT, is_declared=True),
        "flat_without": lambda: without(FLAT),
        "nested": lambda: with_catalog(SMALL, is_declared=True),
        "nested_without": lambda: without(SMALL),
        "unknown": lambda: with_catalog(FLAT, is_declared=False),
        "unknown_without": lambda: without(FLAT),
        "start": start,
    }
    with fake_distribution("bench-plugins", plugins=PLUGINS):
        serve(SCENARIOS)
