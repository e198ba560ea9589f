"""The observer `opentelemetry`: the counts as observable instruments, a span for each batch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import version
from typing import Any, Final

import attrs
from opentelemetry import metrics, trace
from opentelemetry.metrics import CallbackOptions, Histogram, Observation

from eventtracking import Counts, Tracker

__all__ = ["OpenTelemetryObserver"]

_SCOPE: Final = "eventtracking"
_OUTCOMES: Final = ("delivered", "filtered", "failed")
_STALE_S: Final = 0.5
"""All instruments of one collection are read from one snapshot of the counts."""
_DEAD_MARK: Final = "dead_lettered: "

Observe = Callable[[CallbackOptions], Iterable[Observation]]


@attrs.define(eq=False, kw_only=True)
class OpenTelemetryObserver:
    """Report the counts of every route through the OpenTelemetry API, read when they are collected.

    The application sets the SDK up: providers, exporters, the resource of each process.
    """

    tracker: str = attrs.field(
        default="default",
        metadata={"help": "The attribute `eventtracking.tracker` of every instrument."},
    )
    spans: bool = attrs.field(
        default=False, metadata={"help": "Whether each batch that a router delivers has a span."}
    )
    _watched: Tracker | None = attrs.field(init=False, default=None, repr=False)
    _counts: tuple[float, Mapping[str, Counts], Mapping[str, Any]] = attrs.field(
        init=False, default=(float("-inf"), {}, {}), repr=False
    )
    _dead: dict[str, tuple[int, int]] = attrs.field(init=False, factory=dict, repr=False)
    _duration: Histogram | None = attrs.field(init=False, default=None, repr=False)
    _batch: Histogram | None = attrs.field(init=False, default=None, repr=False)
    _instrumented: bool = attrs.field(init=False, default=False, repr=False)

    def start(self, tracker: Tracker) -> None:
        """Make the instruments, once: the API knows no way to take one back."""
        self._watched = tracker
        if self._instrumented:
            return
        self._instrumented = True
        meter = metrics.get_meter(_SCOPE, version("eventtracking"))
        counters: tuple[tuple[str, Observe, str], ...] = (
            ("eventtracking.events.received", self._received, "Events that came to a route."),
            ("eventtracking.events.processed", self._processed, "Arrivals at an outcome."),
        )
        for name, observe, text in counters:
            meter.create_observable_counter(name, [observe], "{event}", text)
        gauges: tuple[tuple[str, Observe, str, str], ...] = (
            ("eventtracking.queue.size", self._pending, "{event}", "Events that wait."),
            ("eventtracking.dead_letters", self._letters, "{event}", "Dead letters."),
            ("eventtracking.events.unaccounted", self._unaccounted, "{event}", "0, or a fault."),
            ("eventtracking.queue.oldest.age", self._age, "s", "Age of the oldest event."),
            ("eventtracking.queue.bytes", self._bytes, "By", "Bytes of the events that wait."),
            ("eventtracking.queue.capacity", self._capacity, "By", "Bytes that may wait."),
        )
        for name, observe, unit, text in gauges:
            meter.create_observable_up_down_counter(name, [observe], unit, text)
        self._duration = meter.create_histogram(
            "eventtracking.delivery.duration", "s", "Duration of a batch."
        )
        self._batch = meter.create_histogram(
            "eventtracking.delivery.events", "{event}", "Events of a batch."
        )

    def delivered(self, route: str, count: int, duration_s: float) -> None:
        """Record a batch; make its span, if they are wanted."""
        attributes = self._attributes(route)
        if self._duration is not None and self._batch is not None:
            self._duration.record(duration_s, attributes)
            self._batch.record(count, attributes)
        if self.spans:
            end = time.time_ns()
            span = trace.get_tracer(_SCOPE, version("eventtracking")).start_span(
                f"deliver {route}",
                kind=trace.SpanKind.PRODUCER,
                start_time=end - int(duration_s * 1e9),
                attributes={**attributes, "messaging.batch.message_count": count},
            )
            span.end(end)

    def close(self) -> None:
        """Keep the last counts, for the SDK's last collection at the end of the process."""
        self._read()
        self._watched = None

    def _attributes(self, route: str, **more: str) -> dict[str, str]:
        return {"eventtracking.tracker": self.tracker, "eventtracking.route": route, **more}

    def _read(self) -> tuple[Mapping[str, Counts], Mapping[str, Any]]:
        """Read counts and status, unless that was done for this collection."""
        read_at, counts, status = self._counts
        if self._watched is not None and time.monotonic() - read_at > _STALE_S:
            counts = self._watched.stats()
            status = {view.path: _status(view.backend) for view in self._watched.routes()}
            self._counts = (time.monotonic(), counts, status)
        return counts, status

    def _each(self, value: Callable[[Counts], int]) -> Iterable[Observation]:
        for route, counts in self._read()[0].items():
            yield Observation(value(counts), self._attributes(route))

    def _received(self, _options: CallbackOptions) -> Iterable[Observation]:
        return self._each(lambda counts: counts.received)

    def _processed(self, _options: CallbackOptions) -> Iterable[Observation]:
        for route, counts in self._read()[0].items():
            for outcome in _OUTCOMES:
                attributes = self._attributes(route, **{"eventtracking.outcome": outcome})
                yield Observation(getattr(counts, outcome), attributes)
            attributes = self._attributes(route, **{"eventtracking.outcome": "dead_lettered"})
            yield Observation(self._arrivals(route, counts), attributes)

    def _arrivals(self, route: str, counts: Counts) -> int:
        """How many events ever became dead letters: a replay must not take from a counter."""
        total, last = self._dead.get(route, (0, 0))
        total += max(counts.dead_lettered - last, 0)
        told = sum(n for text, n in counts.reasons.items() if text.startswith(_DEAD_MARK))
        self._dead[route] = (max(total, told), counts.dead_lettered)
        return self._dead[route][0]

    def _pending(self, _options: CallbackOptions) -> Iterable[Observation]:
        return self._each(lambda counts: counts.pending)

    def _letters(self, _options: CallbackOptions) -> Iterable[Observation]:
        return self._each(lambda counts: counts.dead_lettered)

    def _unaccounted(self, _options: CallbackOptions) -> Iterable[Observation]:
        return self._each(lambda counts: counts.received - counts.settled - counts.pending)

    def _of_status(self, name: str) -> Iterable[Observation]:
        for route, status in self._read()[1].items():
            value = getattr(status, name, None)
            if isinstance(value, int | float):
                yield Observation(value, self._attributes(route))

    def _age(self, _options: CallbackOptions) -> Iterable[Observation]:
        return self._of_status("oldest_pending_s")

    def _bytes(self, _options: CallbackOptions) -> Iterable[Observation]:
        return self._of_status("bytes")

    def _capacity(self, _options: CallbackOptions) -> Iterable[Observation]:
        return self._of_status("capacity_bytes")


def _status(router: Any) -> Any:
    """Ask a router how it stands; None if it cannot tell."""
    ask = getattr(router, "status", None)
    try:
        return None if ask is None else ask()
    except Exception:  # noqa: BLE001 - one router that cannot tell must not hide the others
        return None
