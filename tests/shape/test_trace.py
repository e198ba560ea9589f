"""The delivery of one event from disk crosses no more modules than the tool allows."""

from __future__ import annotations

import pytest

import trace_delivery

pytestmark = [pytest.mark.once, pytest.mark.needs("buffer")]


def test_a_delivery_crosses_few_modules() -> None:
    """`tools/trace_delivery.py` prints each move; the limits may only shrink."""
    found = trace_delivery.trace()
    assert found.moves, "no delivery was seen"
    assert len(found.modules) <= trace_delivery.MODULES, sorted(found.modules)
    assert len(found.moves) <= trace_delivery.MOVES, found.moves
