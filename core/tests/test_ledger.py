"""The books stay right while several threads write in them."""

from __future__ import annotations

import dis
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from types import CodeType, ModuleType

import eventtracking


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
