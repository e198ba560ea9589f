"""The scenes of the survival matrix: a program that emits with one library, default settings, and
then ends in one way.

    survival_scene.py SYSTEM SCENE

`SURVIVAL_PORT` says where the sink is, `SURVIVAL_FOLDER` which folder a scene may write to. It runs
in the environment of its library; those are imported by name, because none is there when types are
checked.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["FEW", "FORKED", "MANY", "SYSTEMS", "emitter", "mark", "our_config"]

Emit = Callable[[str], object]

MANY = 2_000
"""How many events are queued at a clean exit."""
FEW = 55
"""How many events are emitted just before the end."""
FORKED = (5, 20)
"""How many events are emitted before a fork, and in the child."""


def mark(number: int) -> str:
    """What tells an event from all others, whatever the format."""
    return f"evt{number:06d}x"


def _url() -> str:
    return f"http://127.0.0.1:{os.environ['SURVIVAL_PORT']}"


# The libraries, with their default settings


def our_config(storage: str, backends: dict[str, Any]) -> dict[str, Any]:
    """A buffer before some backends."""
    node: dict[str, Any] = {"plugin": "buffer", "storage": storage, "backends": backends}
    if storage == "disk":
        node["path"] = str(Path(os.environ["SURVIVAL_FOLDER"], "buffer"))
    return {"backends": {"sink": node}}


def our_tracker(storage: str) -> Any:
    """A tracker with a buffer before the sink."""
    sink = {"plugin": "survival_sink", "port": int(os.environ["SURVIVAL_PORT"])}
    return importlib.import_module("eventtracking").Tracker.from_config(
        our_config(storage, {"http": sink})
    )


def ours(storage: str) -> Emit:
    return _keep(our_tracker(storage)).emit  # type: ignore[no-any-return]  # a tracker's


def posthog() -> Emit:
    client = importlib.import_module("posthog").Posthog("phc_survival", host=_url())
    return lambda text: client.capture(text, distinct_id="user", properties={"n": 1})


def segment() -> Emit:
    client = importlib.import_module("segment.analytics.client").Client("survival", host=_url())
    return lambda text: client.track("user", text, {"n": 1})


def rudderstack() -> Emit:
    client = importlib.import_module("rudderstack.analytics.client").Client("survival", host=_url())
    return lambda text: client.track("user", text, {"n": 1})


def snowplow() -> Emit:
    package: Any = importlib.import_module("snowplow_tracker")
    configuration = package.EmitterConfiguration()
    tracker = package.Snowplow.create_tracker(
        namespace="survival", endpoint=_url(), emitter_config=configuration
    )
    return lambda text: tracker.track(package.StructuredEvent(category="survival", action=text))


def opentelemetry() -> Emit:
    sdk: Any = importlib.import_module("opentelemetry.sdk._logs")
    export: Any = importlib.import_module("opentelemetry.sdk._logs.export")
    otlp: Any = importlib.import_module("opentelemetry.exporter.otlp.proto.http._log_exporter")
    severity = importlib.import_module("opentelemetry._logs").SeverityNumber.INFO
    provider = sdk.LoggerProvider()
    provider.add_log_record_processor(
        export.BatchLogRecordProcessor(otlp.OTLPLogExporter(f"{_url()}/v1/logs"))
    )
    logger = provider.get_logger("survival")
    return lambda text: logger.emit(
        timestamp=time.time_ns(), severity_number=severity, event_name=text, body=text
    )


def sentry() -> Emit:
    sdk: Any = importlib.import_module("sentry_sdk")
    sdk.init(dsn=_url().replace("http://", "http://key@") + "/1")
    return sdk.capture_message  # type: ignore[no-any-return]  # no types are there


SYSTEMS: dict[str, Callable[[], Emit]] = {
    "memory": lambda: ours("memory"),
    "disk": lambda: ours("disk"),
    "posthog": posthog,
    "segment": segment,
    "rudderstack": rudderstack,
    "snowplow": snowplow,
    "opentelemetry": opentelemetry,
    "sentry": sentry,
}

_kept: list[Any] = []


def _keep(thing: Any) -> Any:
    """Keep a tracker from the garbage collector, as a module of an application would."""
    _kept.append(thing)
    return thing


def emitter(system: str) -> Emit:
    """Set a library up; what emits one event with a mark as its name."""
    logging.disable(logging.CRITICAL)
    return SYSTEMS[system]()


# The scenes


def emit_some(emit: Emit, count: int, start: int = 0) -> None:
    """Emit so many events."""
    for number in range(start, start + count):
        emit(mark(number))


def leave(emit: Emit) -> None:
    """Emit, and end as a program ends."""
    emit_some(emit, MANY)


def be_terminated(emit: Emit) -> None:
    """Emit, and have a SIGTERM that nobody handles."""
    emit_some(emit, FEW)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)


def leave_at_once(emit: Emit) -> None:
    """Emit, and skip everything that runs at an exit."""
    emit_some(emit, FEW)
    os._exit(0)


def be_killed(emit: Emit) -> None:
    """Emit, and be killed as the kernel does when memory is short."""
    emit_some(emit, FEW)
    os.kill(os.getpid(), signal.SIGKILL)


def fork(emit: Emit) -> None:
    """Emit before a fork and in the child; both end as programs end."""
    before, after = FORKED
    emit_some(emit, before)
    child = os.fork()
    if child == 0:
        emit_some(emit, after, before)
        return
    os.waitpid(child, 0)


def start_again(_emit: Emit) -> None:
    """Start the program again, which emits nothing: what the last one left behind is delivered.

    Print what the books say.
    """
    for tracker in _kept:
        tracker.flush(30)
        stats = {
            path: [counts.received, counts.delivered, counts.pending]
            for path, counts in tracker.stats().items()
        }
        balanced = all(counts.balanced for counts in tracker.stats().values())
        print(json.dumps({"balanced": balanced, "stats": stats}))


SCENES: dict[str, Callable[[Emit], None]] = {
    "leave": leave,
    "be_terminated": be_terminated,
    "leave_at_once": leave_at_once,
    "be_killed": be_killed,
    "fork": fork,
    "start_again": start_again,
}

if __name__ == "__main__":
    SCENES[sys.argv[2]](emitter(sys.argv[1]))
