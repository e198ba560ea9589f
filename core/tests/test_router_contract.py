"""Routers that pass through keep the contract of routers, alone and below a buffer."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import attrs
import pytest

from eventtracking import Event
from eventtracking.protocols import Downstream
from eventtracking_testkit.contracts import RouterContract
from eventtracking_testkit.distribution import fake_distribution


@attrs.define(eq=False)
class Sample:
    """Give a share of the events to the children."""

    share: float = attrs.field(default=1.0, metadata={"help": "The share, from 0 to 1."})
    _downstream: Downstream = attrs.field(init=False, repr=False)

    def bind(self, downstream: Downstream) -> None:
        self._downstream = downstream

    def send(self, events: Sequence[Event]) -> None:
        limit = self.share * 2**32
        chosen = [event for event in events if zlib.crc32(event.id.encode()) < limit]
        self._downstream.deliver(chosen)


class TestSample(RouterContract):
    """One that gives every event to every child."""

    plugin = "contract_sample"
    plugin_class = Sample
    retries: ClassVar[bool] = False

    @pytest.fixture(autouse=True)
    def installed(self) -> Iterator[None]:
        with fake_distribution(plugins={"contract_sample": Sample}):
            yield

    @pytest.fixture
    def options(self) -> Mapping[str, Any]:
        return {}
