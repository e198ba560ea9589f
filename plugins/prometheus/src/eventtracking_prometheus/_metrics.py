"""The metrics: a collector for `prometheus_client` over the tallies of a folder."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import version
from typing import Final

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from eventtracking_prometheus._histograms import EVENTS_BOUNDS, SECONDS_BOUNDS, parts
from eventtracking_prometheus._sheet import NUMBERS
from eventtracking_prometheus._totals import Tallies

__all__ = ["TallyCollector"]

_VERSION: Final = version("eventtracking")
_AT: Final = {name: index for index, name in enumerate(NUMBERS)}
_OUTCOMES: Final = ("delivered", "filtered", "failed")
_REASON_OUTCOMES: Final = ("delivered", "filtered", "failed", "dead_lettered", "mended")


class TallyCollector(Collector):
    """Turns tallies into metric families, at each scrape.

    Args:
        read: Returns a tally for each tracker, and the number of processes.
    """

    def __init__(self, read: Callable[[], tuple[Tallies, int]]) -> None:
        self._read = read

    def collect(self) -> Iterable[Metric]:
        """Read the counts once; all families are of the same moment."""
        began = time.perf_counter()
        tallies, processes = self._read()
        yield from _event_families(tallies)
        yield _reasons(tallies)
        yield from _gauges(tallies)
        yield from _histograms(tallies)
        yield _info(tallies)
        gauge = Metric("eventtracking_processes", "Processes whose counts are here.", "gauge")
        gauge.add_sample("eventtracking_processes", {}, processes)
        yield gauge
        took = Metric("eventtracking_collect_seconds", "Duration of this collection.", "gauge")
        took.add_sample("eventtracking_collect_seconds", {}, time.perf_counter() - began)
        yield took


def _rows(tallies: Tallies) -> Iterator[tuple[str, str, list[int]]]:
    for tracker, tally in tallies.items():
        for route, numbers in tally.numbers.items():
            yield tracker, route, numbers


def _event_families(tallies: Tallies) -> Iterator[Metric]:
    received = Metric("eventtracking_events_received", "Events that came to a route.", "counter")
    events = Metric(
        "eventtracking_events", "Arrivals at an outcome; a replayed event counts again.", "counter"
    )
    for tracker, route, numbers in _rows(tallies):
        labels = {"tracker": tracker, "route": route}
        received.add_sample("eventtracking_events_received_total", labels, numbers[0])
        for outcome in _OUTCOMES:
            _add_outcome(events, labels, outcome, numbers[_AT[outcome]])
        _add_outcome(events, labels, "dead_lettered", numbers[_AT["dead_lettered_total"]])
    yield received
    yield events


def _add_outcome(family: Metric, labels: dict[str, str], outcome: str, value: int) -> None:
    family.add_sample("eventtracking_events_total", {**labels, "outcome": outcome}, value)


def _reasons(tallies: Tallies) -> Metric:
    family = Metric(
        "eventtracking_events_reasons", "Why events came to an outcome, or were mended.", "counter"
    )
    for tracker, tally in tallies.items():
        for route, reasons in tally.reasons.items():
            for text, count in reasons.items():
                outcome, mark, reason = text.partition(": ")
                if not mark or outcome not in _REASON_OUTCOMES:
                    outcome, reason = "", text
                labels = {"tracker": tracker, "route": route, "outcome": outcome, "reason": reason}
                family.add_sample("eventtracking_events_reasons_total", labels, count)
    return family


def _gauges(tallies: Tallies) -> Iterator[Metric]:
    pending = _gauge("eventtracking_events_pending", "Events that wait.")
    letters = _gauge("eventtracking_dead_letters", "Dead letters that are kept.")
    unaccounted = _gauge(
        "eventtracking_events_unaccounted",
        "Received less the sum of all outcomes and pending; anything but 0 is a fault.",
    )
    size = _gauge("eventtracking_buffer_bytes", "Bytes of the events that a buffer holds.")
    capacity = _gauge("eventtracking_buffer_capacity_bytes", "Bytes that a buffer may hold.")
    for tracker, route, numbers in _rows(tallies):
        labels = {"tracker": tracker, "route": route}
        pending.add_sample(pending.name, labels, numbers[_AT["pending"]])
        letters.add_sample(letters.name, labels, numbers[_AT["dead_lettered"]])
        unaccounted.add_sample(unaccounted.name, labels, numbers[0] - sum(numbers[1:6]))
        if numbers[_AT["bytes"]] or numbers[_AT["capacity_bytes"]]:
            size.add_sample(size.name, labels, numbers[_AT["bytes"]])
        if numbers[_AT["capacity_bytes"]]:
            capacity.add_sample(capacity.name, labels, numbers[_AT["capacity_bytes"]])
    yield from (pending, letters, unaccounted, size, capacity)
    oldest = _gauge("eventtracking_oldest_pending_seconds", "Age of the oldest pending event.")
    for tracker, tally in tallies.items():
        for route, age_s in tally.oldest_s.items():
            oldest.add_sample(oldest.name, {"tracker": tracker, "route": route}, age_s)
    yield oldest


def _gauge(name: str, text: str) -> Metric:
    return Metric(name, text, "gauge")


def _histograms(tallies: Tallies) -> Iterator[Metric]:
    seconds = Metric("eventtracking_delivery_seconds", "Duration of a batch.", "histogram")
    events = Metric("eventtracking_delivery_events", "Events of a batch.", "histogram")
    for tracker, tally in tallies.items():
        for route, numbers in tally.histograms.items():
            labels = {"tracker": tracker, "route": route}
            buckets, total_s, event_buckets, total = parts(numbers)
            _add_histogram(seconds, labels, SECONDS_BOUNDS, buckets, total_s)
            _add_histogram(events, labels, EVENTS_BOUNDS, event_buckets, total)
    yield seconds
    yield events


def _add_histogram(
    family: Metric,
    labels: dict[str, str],
    bounds: tuple[float, ...],
    buckets: list[int],
    total: float,
) -> None:
    below = 0
    for bound, count in zip((*map(float, bounds), "+Inf"), buckets, strict=True):
        below += count
        family.add_sample(f"{family.name}_bucket", {**labels, "le": str(bound)}, below)
    family.add_sample(f"{family.name}_count", labels, below)
    family.add_sample(f"{family.name}_sum", labels, total)


def _info(tallies: Tallies) -> Metric:
    family = Metric("eventtracking_info", "The version of eventtracking.", "gauge")
    for tracker in tallies:
        labels = {"tracker": tracker, "version": _VERSION}
        family.add_sample("eventtracking_info", labels, 1)
    return family
