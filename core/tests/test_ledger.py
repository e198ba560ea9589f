"""The books stay right while several threads write in them, and another one takes them."""

from __future__ import annotations

import dis
import importlib
import inspect
import pkgutil
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from types import CodeType, ModuleType
from typing import Any

import attrs
import pytest

import eventtracking
from eventtracking import Event, Tracker

ROUNDS = 300
BATCH = 200


@attrs.define(eq=False)
class Taking:
    """A router that delivers on its own thread, while another thread takes the counts, as a buffer
    on disk does.
    """

    counted_by_core = True
    downstream: Any = attrs.field(init=False)

    def bind(self, downstream: Any) -> None:
        self.downstream = downstream

    def send(self, events: Sequence[Event]) -> None:
        """Keep nothing."""


@attrs.define(eq=False)
class Nowhere:
    """Forget everything."""

    def send(self, events: Sequence[Event]) -> None:
        """Forget the events."""


@pytest.fixture
def hasty_threads() -> Iterator[None]:
    """Let threads take turns as often as the interpreter allows."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("hasty_threads")
def test_what_is_taken_during_a_delivery_is_counted_once(
    install_distribution: Callable[..., Any],
) -> None:
    """A thread that takes the counts again and again has, in the end, exactly what was
    delivered.
    """
    install_distribution("ledger", plugins={"taking": Taking, "nowhere": Nowhere})
    config = {"backends": {"r": {"plugin": "taking", "backends": {"end": {"plugin": "nowhere"}}}}}
    downstream = Tracker.from_config(config).downstream("r")
    delivering = threading.Thread(
        target=lambda: [downstream.deliver(batch(number)) for number in range(ROUNDS)]
    )
    taken = []
    delivering.start()
    while delivering.is_alive():
        taken.append(downstream.take_counts()["r/end"])
    taken.append(downstream.take_counts()["r/end"])
    count = ROUNDS * BATCH
    assert [
        sum(getattr(one, name) for one in taken) for name in ("received", "delivered", "pending")
    ] == [
        count,
        count,
        0,
    ]


def batch(number: int) -> list[Event]:
    return [Event(id=f"{number}.{index}", name="e", data={}, context={}) for index in range(BATCH)]


def test_a_total_is_changed_in_one_go() -> None:
    """No call, and so no other thread, comes between the reading of a ledger's total and its
    writing.
    """
    changes = [
        change
        for module in modules()
        for code in codes(module)
        for change in changes_of_total(code)
    ]
    assert len(changes) > 10
    for where, names in changes:
        assert not [name for name in names if "CALL" in name], where


def modules() -> list[ModuleType]:
    found = pkgutil.walk_packages(eventtracking.__path__, "eventtracking.")
    listed = [importlib.import_module(one.name) for one in found if not one.ispkg]
    return [module for module in listed if str(module.__file__).endswith(".py")]


def codes(module: ModuleType) -> Iterator[CodeType]:
    pending = [compile(inspect.getsource(module), str(module.__file__), "exec")]
    while pending:
        code = pending.pop()
        yield code
        pending += [const for const in code.co_consts if isinstance(const, CodeType)]


def changes_of_total(code: CodeType) -> Iterator[tuple[str, list[str]]]:
    """The instructions from each reading of an attribute `total` to the next writing, in functions
    that write one.
    """
    names: list[str] | None = None
    for instruction in dis.get_instructions(code):
        if instruction.argval == "total" and instruction.opname == "LOAD_ATTR":
            names = []
        elif (
            instruction.argval == "total"
            and instruction.opname == "STORE_ATTR"
            and names is not None
        ):
            yield f"{code.co_filename}: {code.co_name}", names
            names = None
        elif names is not None:
            names.append(instruction.opname)
