"""The text format, several times as fast as the encoder of `prometheus_client`.

A scrape of 20 routes has hundreds of series, whose labels stay the same from scrape to scrape: they
are escaped once. The result is that of `prometheus_client.generate_latest`, byte for byte.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

__all__ = ["CONTENT_TYPE", "encode"]

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
"""Older releases of `prometheus_client` have no name for it."""
_MAX_REMEMBERED: Final = 20_000


def encode(collector: Collector) -> bytes:
    """Return the metrics of the collector, as text."""
    lines: list[str] = []
    for family in collector.collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        lines.append(f"# HELP {name} {family.documentation}\n# TYPE {name} {family.type}\n")
        for sample in family.samples:
            labels = _labels(tuple(sample.labels.items()))
            lines.append(f"{sample.name}{labels} {_number(sample.value)}\n")
    return "".join(lines).encode()


def _number(value: float) -> str:
    text: str = floatToGoString(value)  # type: ignore[no-untyped-call]  # it says nothing of types
    return text


@lru_cache(maxsize=_MAX_REMEMBERED)
def _labels(labels: tuple[tuple[str, str], ...]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in sorted(labels)) + "}"


def _escaped(value: str) -> str:
    plain = value.encode("utf-8", "replace").decode()
    return plain.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
