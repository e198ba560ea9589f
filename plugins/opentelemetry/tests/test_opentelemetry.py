"""Metrics, spans and trace ids, with the real SDK."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from eventtracking import Event, Tracker
from eventtracking_opentelemetry.trace_context import TraceContext
from eventtracking_testkit.distribution import fake_distribution
from eventtracking_testkit.fakes import RecordingBackend

pytestmark = pytest.mark.needs("buffer")


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemoryMetricReader]:
    """A provider of the test alone."""
    found = InMemoryMetricReader()
    provider = MeterProvider([found])
    monkeypatch.setattr(metrics, "get_meter", provider.get_meter)
    yield found
    provider.shutdown()


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """The spans that were ended."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer", provider.get_tracer)
    return exporter


def made(**options: Any) -> Tracker:
    below = {"below": {"plugin": "null"}}
    with fake_distribution(plugins={"null": RecordingBackend}):
        return Tracker.from_config(
            {
                "observers": [{"plugin": "opentelemetry", **options}],
                "backends": {
                    "a": {"plugin": "null"},
                    "b": {"plugin": "buffer", "backends": below},
                },
            }
        )


def values(reader: InMemoryMetricReader) -> dict[tuple[str, str, str], Any]:
    data = reader.get_metrics_data()
    found: dict[tuple[str, str, str], Any] = {}
    for resource in data.resource_metrics if data is not None else ():
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                for point in metric.data.data_points:
                    attributes = point.attributes or {}
                    route = str(attributes["eventtracking.route"])
                    outcome = str(attributes.get("eventtracking.outcome", ""))
                    value = getattr(point, "value", getattr(point, "count", None))
                    found[metric.name.removeprefix("eventtracking."), route, outcome] = value
    return found


def test_the_counts_are_observed(reader: InMemoryMetricReader) -> None:
    """Of each route, with its outcomes; the last ones after the end, too."""
    tracker = made()
    tracker.emit("x")
    tracker.emit("y")
    tracker.flush(10)
    tracker.close()
    found = values(reader)
    assert found["events.received", "a", ""] == 2
    assert found["events.processed", "b/below", "delivered"] == 2
    assert found["events.processed", "a", "failed"] == 0
    assert found["queue.size", "b", ""] == 0
    assert {found["events.unaccounted", path, ""] for path in ("", "a", "b", "b/below")} == {0}
    assert found["delivery.duration", "b/below", ""] >= 1
    assert ("delivery.duration", "a", "") not in found


def test_a_batch_has_a_span_where_they_are_wanted(
    reader: InMemoryMetricReader, spans: InMemorySpanExporter
) -> None:
    """Off by default; none for an inline emit."""
    for wanted in (False, True):
        tracker = made(spans=wanted)
        tracker.emit("x")
        tracker.flush(10)
        tracker.close()
        names = [span.name for span in spans.get_finished_spans()]
        assert names == (["deliver b/below"] if wanted else [])
    [span] = spans.get_finished_spans()
    assert span.attributes is not None
    assert span.attributes["messaging.batch.message_count"] == 1


def test_the_ids_of_a_recording_span_are_in_the_context(spans: InMemorySpanExporter) -> None:
    """Outside of a span, in one that is not recorded, and where ids are there: nothing changes."""
    stamp = TraceContext()
    event = Event(name="x", context={"host": "h"})
    assert stamp(event) is event
    with trace.get_tracer("test").start_as_current_span("work") as span:
        found = stamp(event)
        assert found.context == {
            "host": "h",
            "trace_id": f"{span.get_span_context().trace_id:032x}",
            "span_id": f"{span.get_span_context().span_id:016x}",
        }
        assert stamp(found) is found
    with trace.use_span(trace.NonRecordingSpan(span.get_span_context())):
        assert stamp(event) is event
